"""The published x4 weights, last phase: some ten minutes on one GPU, from the weights before it.

    python tools/train.py configs/srdensenet_x4_released_gpu.py

A step has 32 patches of 128x128, and an iteration 10 steps, which a CUDA graph holds. How many fit
into ten minutes depends on the GPU: --cfg-options train_cfg.max_iters=N param_scheduler.1.end=N.
"""
_base_ = './srdensenet_x4_released_stable.py'
load_from = 'checkpoints/srdensenet_x4-0f1ee0a2.pth'

gt_patch_size = 128
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        min_size=gt_patch_size,
        pipeline=[
            dict(type='RandomPatchPair', scale=4, gt_patch_size=gt_patch_size),
            *_base_.train_pipeline[1:],
        ]))

max_iters = 4000
train_cfg = dict(type='GraphedTrainLoop', steps_per_iter=10, max_iters=max_iters, val_interval=500)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.002, by_epoch=False, begin=50,
         end=max_iters),
]
# Over 500 steps.
custom_hooks = [
    dict(type='ChannelsLastHook'),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-2),
]
default_hooks = dict(
    checkpoint=dict(interval=1000, max_keep_ckpts=1), logger=dict(interval=100))
