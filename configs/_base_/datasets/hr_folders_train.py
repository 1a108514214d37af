# Training pairs made on the fly from folders of HR images. At x4: hr_folders_x2.py and similar
# files change the scale.
gt_patch_size = 96
# For data_root, the images of the project's own recipes: docs/training_data.md.
train_folders = ['data/train/T91', 'data/train/BSD400', 'data/train/ImageNet1k-256',
                 'data/train/HQ']
train_pipeline = [
    dict(type='RandomPatchPair', scale=4, gt_patch_size=gt_patch_size),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='HRFolderDataset',
        data_root=['data/train_HR'],
        min_size=gt_patch_size,
        on_bad_image='raise',
        pipeline=train_pipeline))
