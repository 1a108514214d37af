"""SRDenseNet_HL x4 on DIV2K: chained blocks, the last one's maps go on with the first layer's.

The paper's middle variant: high-level and low-level features (figure 2).
"""
_base_ = './srdensenet_x4_div2k.py'

model = dict(generator=dict(feature_level='hl'))
