# SRDenseNet_All x4 on luma, as in the paper.
model = dict(
    type='LumaEditModel',
    generator=dict(
        type='SRDenseNet',
        in_channels=1,
        out_channels=1,
        upscale_factor=4,
        mid_channels=128,
        num_blocks=8,
        num_layers=8,
        growth_rate=16,
        bottleneck_channels=256,
        deconv_kernel=2,
        feature_level='all'),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    train_cfg=dict(),
    test_cfg=dict(),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.], std=[255.]))
