"""The published x4 weights, further: the learning rate falls once more, from the published file.

    python tools/train.py configs/srdensenet_x4_released_again.py

Run once so far, between srdensenet_x4_released_decay.py and srdensenet_x4_released_gpu.py; run
again, it goes on from the published weights. It needs no optimizer state of the phases before, so
it can run wherever there are hours to spare.
"""
_base_ = './srdensenet_x4_released_decay.py'
load_from = 'checkpoints/srdensenet_x4-8c43b9a8.pth'

optim_wrapper = dict(optimizer=dict(lr=4e-4))
max_iters = 3600
train_cfg = dict(max_iters=max_iters, val_interval=400)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
default_hooks = dict(checkpoint=dict(interval=200))
