"""A small SRDenseNet x4 that trains in minutes on two cores; `make demo` runs it.

4 blocks of 4 layers, on the images that scikit-image ships, tested on Set5.
"""
_base_ = './srdensenet_x4_folders.py'

data_root = 'work_dirs/demo/data'
model = dict(generator=dict(num_blocks=4, num_layers=4, bottleneck_channels=128))

train_dataloader = dict(batch_size=8, dataset=dict(data_root=[f'{data_root}/train_HR']))
val_dataloader = dict(dataset=dict(data_root=f'{data_root}/Set5'))
test_dataloader = [dict(_base_.test_dataloader[0])]
test_dataloader[0]['dataset'] = dict(
    _base_.test_dataloader[0]['dataset'], data_root=f'{data_root}/Set5')
test_evaluator = _base_.test_evaluator[:1]

max_iters = 1500
warmup_iters = 50
train_cfg = dict(max_iters=max_iters, val_interval=500)
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='auto', optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='CosineAnnealingLR', eta_min=1e-7, by_epoch=False, begin=warmup_iters,
         T_max=max_iters - warmup_iters, end=max_iters),
]
default_hooks = dict(
    checkpoint=dict(interval=500), logger=dict(interval=100))
randomness = dict(seed=0)
