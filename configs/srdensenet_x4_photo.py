"""SRDenseNet_All x4 for photographs as they are: stored as JPEG, a little noisy or out of focus.

    python tools/train.py configs/srdensenet_x4_photo.py

It begins with the published x4 weights, which learned from clean LR. docs/training_data.md lists
the images. docs/photographs.md says what it brings and costs, and how its weights are published.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x4.py',
    '_base_/datasets/photo_degradations.py',
    '_base_/schedules/muon_linear.py',
]
load_from = 'checkpoints/srdensenet_x4-2708f7eb.pth'

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=_base_.train_folders,
        on_bad_image='skip',
        min_size=_base_.degraded_gt_patch_size,
        pipeline=[
            # A larger patch is degraded than is kept, so that JPEG's blocks begin anywhere.
            dict(type='RandomPatchPair', scale=4, gt_patch_size=_base_.degraded_gt_patch_size),
            *_base_.degradations,
            dict(type='PairedRandomCrop', gt_patch_size=128),
            *_base_.train_pipeline[1:],
        ]))

# Validated on Set5 as it is, and stored as JPEG of quality 60.
jpeg_60 = dict(type='RandomJPEGCompression', keys=['img'], bgr2rgb=True,
               params=dict(quality=[60, 60]))
val_dataloader = [
    _base_.val_dataloader,
    dict(_base_.val_dataloader, dataset=dict(
        _base_.val_dataloader['dataset'],
        pipeline=[*_base_.load_pair, jpeg_60, dict(type='PackInputs')])),
]
val_evaluator = [
    dict(type='Evaluator', metrics=[
        dict(type=metric, crop_border=4, convert_to='Y', prefix=prefix)
        for metric in ('PSNR', 'SSIM')]) for prefix in ('Set5', 'Set5-JPEG60')
]

# The network learns something new, from weights that are already good.
optim_wrapper = dict(optimizer=dict(lr=5e-4))
max_iters = 1900
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
custom_hooks = [*_base_.kept_alive, _base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2, save_best='Set5-JPEG60/PSNR'),
    logger=dict(interval=50))
randomness = dict(seed=0)
