# DIV2K in MMagic's usual layout: sub-images of the 800 training images and a list of them, as in
# MMagic's recipes for EDSR and RDN. At x4: div2k_x2.py and similar files change the scale.
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BasicImageDataset',
        ann_file='meta_info_DIV2K800sub_GT.txt',
        metainfo=dict(dataset_type='div2k', task_name='sisr'),
        data_root='data/DIV2K',
        data_prefix=dict(img='DIV2K_train_LR_bicubic/X4_sub', gt='DIV2K_train_HR_sub'),
        filename_tmpl=dict(img='{}', gt='{}'),
        pipeline=[
            dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb',
                 imdecode_backend='cv2'),
            dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb',
                 imdecode_backend='cv2'),
            dict(type='SetValues', dictionary=dict(scale=4)),
            dict(type='PairedRandomCrop', gt_patch_size=100),
            dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
            dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
            dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
            dict(type='PackInputs'),
        ]))
