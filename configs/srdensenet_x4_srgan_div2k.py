"""SRDenseNet as the generator of MMagic's SRGAN, x4 on RGB.

Start from a network trained for PSNR, by srdensenet_rgb_x4_div2k.py:
--cfg-options load_from=work_dirs/srdensenet_rgb_x4_div2k/best_PSNR_iter_N.pth
The perceptual loss downloads torchvision's VGG19 once.
"""
_base_ = './srdensenet_rgb_x4_div2k.py'

model_wrapper_cfg = dict(type='MMSeparateDistributedDataParallel')

model = dict(
    type='SRGAN',
    discriminator=dict(type='ModifiedVGG', in_channels=3, mid_channels=64),
    pixel_loss=dict(loss_weight=1e-2),
    perceptual_loss=dict(
        type='PerceptualLoss',
        layer_weights={'34': 1.0},
        vgg_type='vgg19',
        perceptual_weight=1.0,
        style_weight=0,
        norm_img=False),
    gan_loss=dict(
        type='GANLoss',
        gan_type='vanilla',
        loss_weight=5e-3,
        real_label_val=1.0,
        fake_label_val=0))

# The discriminator reads 128x128.
train_dataloader = dict(dataset=dict(pipeline=[
    dict(step, gt_patch_size=128) if step.type == 'PairedRandomCrop' else step
    for step in _base_.train_dataloader.dataset.pipeline]))

train_cfg = dict(max_iters=400_000)
player = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999)))
optim_wrapper = dict(
    _delete_=True,
    constructor='MultiOptimWrapperConstructor',
    generator=player,
    discriminator=player)
param_scheduler = dict(
    _delete_=True,
    type='MultiStepLR',
    by_epoch=False,
    milestones=[50_000, 100_000, 200_000, 300_000],
    gamma=0.5)
custom_hooks = []  # no averaging of two players
