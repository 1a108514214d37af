"""SRDenseNet_All x4 on luma, trained on DIV2K in MMagic's conventional layout of it.

For large patches, --cfg-options model.generator.with_cp=True (gradient checkpointing) trades time
for memory. Options also replace the deconvolutions by another upsampler:
model.generator.upsampler.type=pixel_shuffle model.generator.upsampler.upsample_kernel=3
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/div2k_x4.py',
    '_base_/schedules/cosine_300k.py',
]
custom_hooks = [_base_.ema]
