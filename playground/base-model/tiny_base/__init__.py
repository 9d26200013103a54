"""The tiny base model: a Stable-Diffusion-1-shaped model of a few megabytes, taught on drawings it makes itself.

One module a thing: `pictures` and `captions` are the data, `tokens`, `text_encoder`, `autoencoder` and `denoiser` the
four parts, `weights_folder` the diffusers folder on disk, `recogniser` and `measures` the judgement of it. The two
commands beside this package, `build.py` and `evaluate.py`, are the way in. Nothing here knows the cluster, the trainer
or the sample concept.
"""
