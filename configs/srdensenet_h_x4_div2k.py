"""SRDenseNet_H x4 on DIV2K: chained blocks, the bottleneck reads the last one's maps.

The paper's smallest variant: high-level features alone (figure 2).
"""
_base_ = './srdensenet_x4_div2k.py'

model = dict(generator=dict(feature_level='h'))
