"""A better recipe for the paper's data: SRDenseNet_All x4 on 50,000 images of ImageNet.

L1 on Y, flips and transpositions, warm-up and cosine decay from a higher learning rate, clipped
gradients, and bf16 where the device computes in it. Validation uses the moving average of the
weights. srdensenet_x4_imagenet50k.py says how to get the images.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/imagenet50k_x4.py',
    '_base_/schedules/cosine_300k.py',
]

train_dataloader = dict(dataset=dict(pipeline=[_base_.random_patch, *_base_.train_pipeline[1:]]))
optim_wrapper = dict(type='AutocastOptimWrapper', dtype='auto')
custom_hooks = [_base_.ema]
