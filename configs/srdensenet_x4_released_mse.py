"""The published x4 weights, last phase: mean squared error, which PSNR is made of, in place of L1.

    python tools/train.py configs/srdensenet_x4_released_mse.py

Run once so far, from what srdensenet_x4_released_gpu.py gave. It was ended after 1,086 iterations,
and the averages of iteration 600 published, the best on Set5.
"""
_base_ = './srdensenet_x4_released_again.py'

model = dict(pixel_loss=dict(type='MSELoss'))
# Smaller is sharper: the images are photographs of middling quality and JPEGs.
train_dataloader = dict(dataset=dict(shrink=(0.5, 0.6, 0.7, 0.8)))
# At 3e-4, batches of 8 lose again what large ones have gained.
optim_wrapper = dict(optimizer=dict(lr=8e-5))
max_iters = 1900
train_cfg = dict(max_iters=max_iters, val_interval=200)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-3)]
