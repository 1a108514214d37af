"""SRDenseNet as the generator of MMagic's ESRGAN: a relativistic discriminator, x4 on RGB."""
_base_ = './srdensenet_x4_srgan_div2k.py'

model = dict(type='ESRGAN')
