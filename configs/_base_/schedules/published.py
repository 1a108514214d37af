# The schedule of srdensenet_x4.py, _x3.py and _x2.py: Muon, mixed precision, warm-up, a linearly
# falling learning rate, clipped gradients, averages of the weights. On one GPU a step is a CUDA
# graph. On a CPU the same steps run one by one.
# An iteration is 10 steps. A recipe with another number of them repeats param_scheduler.
max_iters = 10_000
steps_per_iter = 10
warmup_iters = 50

train_cfg = dict(
    type='GraphedTrainLoop', steps_per_iter=steps_per_iter, max_iters=max_iters, val_interval=500)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='AutocastOptimWrapper',
    dtype='auto',
    # At the full rate, biases make maps zero for good: DeadMapsHook shows it.
    optimizer=dict(type='MuonWithAdam', lr=1e-3, bias_lr_mult=0.1),
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.002, by_epoch=False, begin=warmup_iters,
         end=max_iters),
]
# For custom_hooks: averages over 500 steps.
ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-2)
# For custom_hooks too. Kernels step as if what they read were centred, which keeps maps alive.
# Maps that die all the same get new weights, every 500 steps.
centre = dict(type='CentreInputsHook', interval=2)
revive = dict(type='ReviveHook', interval=50)

# Their teachers: docs/training_data.md.
batch_size = 64
teacher_share = 0.75
