"""The published x4 weights, second phase: the learning rate goes to zero.

    python tools/train.py configs/srdensenet_x4_released_decay.py \
        --cfg-options load_from=work_dirs/srdensenet_x4_released_stable/iter_N.pth
"""
_base_ = './srdensenet_x4_released_stable.py'

# At 1e-3 the averaged weights gain nothing any more after some 6,000 iterations.
optim_wrapper = dict(optimizer=dict(lr=7e-4))
max_iters = 9000
train_cfg = dict(max_iters=max_iters, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.002, by_epoch=False, begin=50,
         end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=250))
