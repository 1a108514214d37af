# The paper's schedule (section 4): 60 epochs of 50,000 patches in batches of 32, Adam, a learning
# rate of 1e-4 and a tenth of it after 30 epochs.
batch_size = 32
max_iters = 60 * 50_000 // batch_size

train_cfg = dict(type='ResumableIterTrainLoop', max_iters=max_iters, val_interval=3125)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',  # --amp turns it into mixed precision
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999)))
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[max_iters // 2], gamma=0.1)
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
