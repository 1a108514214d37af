"""The published x4 weights, on a GPU: minutes in place of hours.

    python tools/train.py configs/srdensenet_x4_released_gpu.py

Run twice so far, on an H200. The first time, from the weights that srdensenet_x4_released_again.py
gave: 10,500 steps of 32 patches, not compiled, in 141 seconds, on T91, the ImageNet images and
111 of those of BSD400. The second time, from the weights that the first gave: 1,564 of 4,700
iterations on all images, until the machine was lost, then 2,350 from their average, at 7e-4
falling to 0, with 100 images of BSD400: 39,140 steps of 64 patches in 8 minutes.
"""
_base_ = './srdensenet_x4_released_decay.py'
load_from = 'checkpoints/srdensenet_x4-8c43b9a8.pth'

gt_patch_size = 128
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        min_size=gt_patch_size,
        pipeline=[
            dict(type='RandomPatchPair', scale=4, gt_patch_size=gt_patch_size),
            *_base_.train_pipeline[1:],
        ]))

max_iters = 4000
train_cfg = dict(type='GraphedTrainLoop', steps_per_iter=10, max_iters=max_iters, val_interval=500)
compile = True
env_cfg = dict(cudnn_benchmark=True)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
# Over 500 steps.
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-2)]
default_hooks = dict(
    checkpoint=dict(interval=1000, max_keep_ckpts=1), logger=dict(interval=100))
