# Chosen by short trials: a peak learning rate far above the paper's, warm-up, cosine decay and
# clipped gradients. With custom_hooks = [_base_.ema], the moving average of the weights is
# validated, kept as the best and published.
max_iters = 300_000
warmup_iters = 1000

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=5000)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',  # --amp turns it into mixed precision
    optimizer=dict(type='Adam', lr=6e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='CosineAnnealingLR', eta_min=1e-7, by_epoch=False, begin=warmup_iters,
         T_max=max_iters - warmup_iters, end=max_iters),
]
ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3)
auto_scale_lr = dict(enable=False, base_batch_size=16)
