"""SRDenseNet_All x8 on luma, trained on DIV2K in MMagic's conventional layout of it.

DIV2K has no bicubic x8 images. Make them, and the test images, from the HR images with
tools/prepare_dataset.py. Its --help says how: DIV2K's sides are no multiples of 8.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/div2k_x8.py',
    '_base_/schedules/cosine_300k.py',
]
model = dict(generator=dict(upscale_factor=8))
custom_hooks = [_base_.ema]
