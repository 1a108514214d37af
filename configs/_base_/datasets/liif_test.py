# For a network of all upscale factors: validation on Set5 at x2, x3 and x4, tests on Set5 and Set14
# at x2, x3, x4 and x6. PSNR and SSIM on Y and on RGB as everywhere. Prepared by
# tools/prepare_dataset.py with --scales 2 3 4 6.
data_root = 'data'

test_pipeline = [
    dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb',
         imdecode_backend='cv2'),
    dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb',
         imdecode_backend='cv2'),
    dict(type='GenerateCoordinateAndCell', reshape_gt=False),
    dict(type='PackInputs'),
]
val_pipeline = test_pipeline
val_sets = [('Set5', scale) for scale in (2, 3, 4)]
test_sets = [(name, scale) for name in ('Set5', 'Set14') for scale in (2, 3, 4, 6)]

val_dataloader, test_dataloader = [[
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
            pipeline=test_pipeline)) for name, scale in sets
] for sets in (val_sets, test_sets)]
val_evaluator, test_evaluator = [[
    dict(
        type='Evaluator',
        metrics=[
            dict(type='PSNR', crop_border=scale, convert_to='Y', prefix=f'{name}x{scale}-Y'),
            dict(type='SSIM', crop_border=scale, convert_to='Y', prefix=f'{name}x{scale}-Y'),
            dict(type='PSNR', crop_border=scale, prefix=f'{name}x{scale}-RGB'),
            dict(type='SSIM', crop_border=scale, prefix=f'{name}x{scale}-RGB'),
        ]) for name, scale in sets
] for sets in (val_sets, test_sets)]
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')
