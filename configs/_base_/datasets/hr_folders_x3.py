# hr_folders_x4.py at x3, with patches of as many LR pixels.
_base_ = './div2k_x3.py'

gt_patch_size = 72
train_pipeline = [
    dict(type='RandomPatchPair', scale=3, gt_patch_size=gt_patch_size),
    # Flips, transposition and packing are the same for prepared pairs.
    *_base_.train_dataloader.dataset.pipeline[-4:],
]
train_dataloader = dict(
    _delete_=True,
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
