# SRDenseNet_All on luma as the encoder of LIIF. LIIF's part is that of MMagic's recipes.
model = dict(
    type='LumaLIIF',
    generator=dict(
        type='LIIFSRDenseNet',
        encoder=dict(
            type='SRDenseNet',
            in_channels=1,
            out_channels=1,
            mid_channels=128,
            num_blocks=8,
            num_layers=8,
            growth_rate=16,
            bottleneck_channels=256,
            feature_level='all'),
        imnet=dict(type='MLPRefiner', out_dim=1, hidden_list=[256, 256, 256, 256]),
        local_ensemble=True,
        feat_unfold=True,
        cell_decode=True,
        eval_bsize=4096),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
    train_cfg=dict(),
    test_cfg=dict(scale=4),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.], std=[255.]))
