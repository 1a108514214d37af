# A short training: Muon, mixed precision, clipped gradients, a learning rate that falls in a line,
# averages of the weights. For 1,500 iterations; a recipe with another number repeats
# param_scheduler.
max_iters = 1500

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=500)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='AutocastOptimWrapper',
    dtype='auto',
    # Biases at the full rate silence maps for good: DeadMapsHook shows it.
    optimizer=dict(type='MuonWithAdam', lr=1e-3, bias_lr_mult=0.1),
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.002, by_epoch=False, begin=50,
         end=max_iters),
]
# For custom_hooks = [_base_.ema]: over some 200 iterations; longer averages would still hold the
# weights of the beginning.
ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=5e-3)
