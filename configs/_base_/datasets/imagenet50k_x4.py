# Random 100x100 patches of ImageNet's images; validation and tests as everywhere.
_base_ = './hr_folders_x4.py'

gt_patch_size = 100
random_patch = dict(type='RandomPatchPair', scale=4, gt_patch_size=gt_patch_size)
train_dataloader = dict(
    num_workers=4,
    dataset=dict(
        data_root=['data/ImageNet50k'],
        min_size=gt_patch_size,
        on_bad_image='skip',
        pipeline=[random_patch, dict(type='PackInputs')]))
