"""SRDenseNet_All x4 on RGB, trained on DIV2K: three channels in, three out, loss on RGB."""
_base_ = './srdensenet_x4_div2k.py'

model = dict(type='BaseEditModel', generator=dict(in_channels=3, out_channels=3))
