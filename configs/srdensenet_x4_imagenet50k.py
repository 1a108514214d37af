"""The paper's recipe: SRDenseNet_All x4 on 50,000 images of ImageNet (section 4).

One random patch of 100x100 per image and epoch, no augmentation, MSE on Y. Links are enough:

    mkdir -p data/ImageNet50k; find /imagenet/train -name '*.JPEG' | shuf -n 50000 | \
        xargs ln -s -t data/ImageNet50k

Images smaller than a patch are skipped, and others are drawn instead.
"""
_base_ = [
    '_base_/runtime.py',
    '_base_/models/srdensenet_x4.py',
    '_base_/datasets/imagenet50k_x4.py',
    '_base_/schedules/paper_60e.py',
]

model = dict(pixel_loss=dict(type='MSELoss'))
train_dataloader = dict(batch_size=_base_.batch_size)
