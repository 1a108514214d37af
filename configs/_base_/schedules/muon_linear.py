# A short training: Muon, mixed precision, clipped gradients, a linearly falling learning rate,
# averages of the weights. For 1,500 iterations. A recipe with another number repeats
# param_scheduler.
max_iters = 1500

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=500)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='AutocastOptimWrapper',
    dtype='auto',
    # At the full rate, biases make maps zero for good: DeadMapsHook shows it.
    optimizer=dict(type='MuonWithAdam', lr=1e-3, bias_lr_mult=0.1),
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.002, by_epoch=False, begin=50,
         end=max_iters),
]
# For custom_hooks = [_base_.ema]: averages over some 200 iterations. Longer ones would still
# contain early weights.
ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=5e-3)
# For custom_hooks, where blocks have much to learn: kernels step as if what they read were
# centred, which keeps maps alive.
centre = dict(type='CentreInputsHook')
# The same where a training begins with weights whose blocks live, such as the published ones. Maps
# that die all the same get new weights.
kept_alive = [dict(centre, interval=20), dict(type='ReviveHook', interval=1000)]
