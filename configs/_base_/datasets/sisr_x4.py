# Validation on Set5, tests on Set5 and Set14 at x4: PSNR and SSIM on Y, the field's protocol, and
# on RGB, what MMagic's own tables show. Prepared by tools/prepare_dataset.py.
scale = 4
data_root = 'data'

load_pair = [
    dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb',
         imdecode_backend='cv2'),
    dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb',
         imdecode_backend='cv2'),
]
test_pipeline = [*load_pair, dict(type='PackInputs')]
val_pipeline = test_pipeline

val_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='set5', task_name='sisr'),
        data_root=f'{data_root}/Set5',
        data_prefix=dict(img=f'LRbicx{scale}', gt='GTmod12'),
        pipeline=val_pipeline))
val_evaluator = dict(
    type='Evaluator',
    metrics=[
        dict(type='PSNR', crop_border=scale, convert_to='Y'),
        dict(type='SSIM', crop_border=scale, convert_to='Y'),
        dict(type='PSNR', crop_border=scale, prefix='RGB'),
        dict(type='SSIM', crop_border=scale, prefix='RGB'),
    ])
val_cfg = dict(type='MultiValLoop')

test_dataloader = [
    dict(
        num_workers=1,
        persistent_workers=False,
        drop_last=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type=name.lower(), task_name='sisr'),
            data_root=f'{data_root}/{name}',
            data_prefix=dict(img=f'LRbicx{scale}', gt='GTmod12'),
            pipeline=test_pipeline)) for name in ('Set5', 'Set14')
]
test_evaluator = [
    dict(
        type='Evaluator',
        metrics=[
            dict(type='PSNR', crop_border=scale, convert_to='Y', prefix=f'{name}-Y'),
            dict(type='SSIM', crop_border=scale, convert_to='Y', prefix=f'{name}-Y'),
            dict(type='PSNR', crop_border=scale, prefix=f'{name}-RGB'),
            dict(type='SSIM', crop_border=scale, prefix=f'{name}-RGB'),
        ]) for name in ('Set5', 'Set14')
]
test_cfg = dict(type='MultiTestLoop')
