"""The published x2 weights, fine-tuned from the x4 ones before the last phase.

    python tools/train.py configs/srdensenet_x2_released.py
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/hr_folders_x2.py',
    '_base_/schedules/muon_linear.py',
]
model = dict(generator=dict(upscale_factor=2))
# The second of its two deconvolutions has no place here.
load_from = 'checkpoints/srdensenet_x4-8c43b9a8.pth'

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_root=['data/train/T91', 'data/train/BSD400', 'data/train/ImageNet1k-256'],
        # Smaller is sharper: the images are photographs of middling quality and JPEGs.
        shrink=(0.5, 0.6, 0.7, 0.8),
        on_bad_image='skip'))

max_iters = 2000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    _base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
custom_hooks = [_base_.ema]
default_hooks = dict(
    checkpoint=dict(interval=250, max_keep_ckpts=2), logger=dict(interval=50))
