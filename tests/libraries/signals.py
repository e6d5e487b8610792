"""Programs of libraries for images, sound and signals on spheres."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, normal, program


def images(*shape):
    """Return batches of images with values from 0 to 1, and plain ones."""
    rng = np.random.default_rng(0)
    return [(rng.random(shape, np.float32),) for _ in range(4)] + [(np.full(shape, v, np.float32),) for v in (0, 1)]


@program("dm-pix")
def pix_augment():
    """An image's colours, contrast and blur changed."""
    import dm_pix as pix

    def change(image):
        image = pix.adjust_hue(pix.adjust_saturation(image, 1.3), 0.2)
        image = pix.adjust_contrast(pix.adjust_gamma(image, 1.2), 0.8)
        return pix.gaussian_blur(image, 1.0, kernel_size=3)

    return Case(fn=change, inputs=[(8, 8, 3)], values=images(8, 8, 3))


@program("dm-pix")
def pix_warp():
    """An image rotated and warped, and its structural similarity to the original."""
    import dm_pix as pix

    def warp(image):
        rotated = pix.rotate(image, 0.4, order=1, mode="nearest")
        flipped = pix.flip_left_right(pix.rot90(rotated, 1))
        return rotated, pix.ssim(image, flipped, filter_size=5), pix.psnr(image, flipped)

    return Case(fn=warp, inputs=[(8, 8, 3)], values=images(8, 8, 3)[:4])


@program("augmax")
def augmax_chain():
    """A chain of random augmentations of an image, by a key."""
    import augmax

    transform = augmax.Chain(
        augmax.RandomCrop(8, 8), augmax.HorizontalFlip(), augmax.Rotate(30), augmax.RandomBrightness()
    )
    rng = np.random.default_rng(0)
    values = [(jax.random.PRNGKey(i), rng.random((12, 12, 3), np.float32)) for i in range(5)]
    return Case(fn=transform, inputs=[jax.random.PRNGKey(0), (12, 12, 3)], values=values)


@program("jaxwt")
def jaxwt_wavelets():
    """The wavelet transform of signals and images, and back."""
    import jaxwt
    import pywt

    wavelet = pywt.Wavelet("db2")

    def transform(signals, image):
        coefficients = jaxwt.wavedec(signals, wavelet, level=2, mode="reflect")
        flat = jaxwt.wavedec2(image, wavelet, level=1, mode="reflect")
        return coefficients, jaxwt.waverec(coefficients, wavelet), flat

    return Case(fn=transform, inputs=[(2, 16), (2, 8, 8)])


@program("s2fft")
def s2fft_transform():
    """The spherical harmonic transform of a signal, and back."""
    import s2fft

    def transform(signal):
        harmonics = s2fft.forward_jax(signal, L=4, reality=True)
        return harmonics, s2fft.inverse_jax(harmonics, L=4, reality=True).real

    return Case(fn=transform, inputs=[(4, 7)], values=_fields(4, 7))


@program("s2fft")
def s2fft_wigner():
    """The transform by precomputed kernels, by a product with constants."""
    from s2fft.precompute_transforms import construct, spherical

    kernel = jnp.asarray(construct.spin_spherical_kernel(4, spin=0, sampling="mw", forward=True))

    def transform(signal):
        return spherical.forward_transform_jax(signal, kernel, 4, "mw", reality=False, spin=0, nside=0)

    return Case(fn=transform, inputs=[(4, 7)], values=_fields(4, 7))


def _fields(*shape):
    rng = np.random.default_rng(0)
    return [(normal(rng, *shape),) for _ in range(4)] + [(np.zeros(shape, np.float32),)]


@program("kernex")
def kernex_stencil():
    """Stencils over an image: a convolution and a median filter."""
    import kernex as kex

    laplacian = jnp.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])

    @kex.kmap(kernel_size=(3, 3), padding="same")
    def laplace(window):
        return jnp.sum(window * laplacian)

    @kex.kmap(kernel_size=(3, 3), strides=(2, 2))
    def median(window):
        return jnp.median(window)

    return Case(fn=lambda image: (laplace(image), median(image)), inputs=[(7, 7)])
