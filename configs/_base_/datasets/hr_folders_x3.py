# hr_folders_x4.py at x3, with patches of as many LR pixels.
_base_ = ['./hr_folders_train.py', './sisr_x3.py']

gt_patch_size = 72
train_pipeline = [
    dict(type='RandomPatchPair', scale=3, gt_patch_size=gt_patch_size),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(min_size=gt_patch_size, pipeline=train_pipeline))
