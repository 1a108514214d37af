"""SRDenseNet_All x2 on luma, trained on DIV2K in MMagic's conventional layout of it."""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/div2k_x2.py',
    '_base_/schedules/cosine_300k.py',
]
model = dict(generator=dict(upscale_factor=2))
custom_hooks = [_base_.ema]
