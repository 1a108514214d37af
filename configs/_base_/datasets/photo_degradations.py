# What happens to photographs before somebody upscales them, in mild orders and strengths. Only LR
# (`img`) is changed. Each step may be left out, so about a quarter of the images are clean.
degraded_gt_patch_size = 160  # what is degraded, at x4: 40x40 LR pixels
degradations = [
    # A lens out of focus, or another program's smooth downscaling. Sigmas are LR pixels.
    dict(type='RandomBlur', keys=['img'], params=dict(
        prob=0.1, kernel_size=[7], kernel_list=['iso', 'aniso'], kernel_prob=[0.7, 0.3],
        sigma_x=[0.2, 0.8], sigma_y=[0.2, 0.8])),
    # Shrunk or enlarged, and back.
    dict(type='RandomResize', keys=['img'], params=dict(
        prob=0.05, resize_mode_prob=[0.3, 0.7, 0], resize_scale=[0.75, 1.25],
        resize_opt=['bilinear', 'area', 'bicubic'], resize_prob=[0.3, 0.3, 0.4])),
    dict(type='RandomResize', keys=['img'], params=dict(
        target_size=(degraded_gt_patch_size // 4, degraded_gt_patch_size // 4),
        resize_opt=['bilinear', 'bicubic'], resize_prob=[0.5, 0.5])),
    dict(type='RandomNoise', keys=['img'], params=dict(
        prob=0.25, noise_type=['gaussian', 'poisson'], noise_prob=[0.7, 0.3],
        gaussian_sigma=[1, 12], gaussian_gray_noise_prob=0.4,
        poisson_scale=[0.05, 0.6], poisson_gray_noise_prob=0.4)),
    dict(type='RoundToUint8', keys=['img']),
    dict(type='RandomJPEGCompression', keys=['img'], bgr2rgb=True,
         params=dict(prob=0.55, quality=[30, 95])),
]
