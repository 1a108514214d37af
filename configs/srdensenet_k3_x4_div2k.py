"""SRDenseNet_All x4 on DIV2K with overlapping 3x3 deconvolutions.

The other variant in use: kernel 3, stride 2 instead of kernel = stride. A third more parameters.
"""
_base_ = './srdensenet_x4_div2k.py'

model = dict(generator=dict(deconv_kernel=3))
