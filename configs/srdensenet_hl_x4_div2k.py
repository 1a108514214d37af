"""SRDenseNet_HL x4 on DIV2K: the bottleneck reads the last block's and the first layer's maps.

The paper's middle variant: high-level and low-level features (figure 2).
"""
_base_ = './srdensenet_x4_div2k.py'

model = dict(generator=dict(feature_level='hl'))
