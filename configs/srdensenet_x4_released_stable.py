"""The published x4 weights, first phase: a high, constant learning rate, for as long as it gains.

Muon, mixed precision, L1, clipped gradients, small batches, EMA of the weights. The phase has no
length of its own: stop it at any time, resume it at any time, and let
srdensenet_x4_released_decay.py bring the learning rate down.
"""
_base_ = './srdensenet_x4_folders.py'

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=['data/train/T91', 'data/train/BSD400', 'data/train/ImageNet1k-256'],
        on_bad_image='skip'))

train_cfg = dict(max_iters=1_000_000, val_interval=1000)
optim_wrapper = dict(
    type='AutocastOptimWrapper',
    dtype='auto',
    optimizer=dict(_delete_=True, type='MuonWithAdam', lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3),
]
default_hooks = dict(
    checkpoint=dict(interval=500, max_keep_ckpts=2), logger=dict(interval=50))
