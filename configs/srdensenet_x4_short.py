"""SRDenseNet_All x4 in half an hour on two cores: for ablations and comparisons at equal budgets.

    python studies/same_budget.py All=configs/srdensenet_x4_short.py
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x4.py',
    '_base_/schedules/muon_linear.py',
]

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=['data/train/T91', 'data/train/BSD400', 'data/train/ImageNet1k-256'],
        on_bad_image='skip'))

# No averages of the weights: while a network learns fast, they are far behind the last weights.
custom_hooks = [_base_.centre]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2), logger=dict(interval=50))
randomness = dict(seed=0)
