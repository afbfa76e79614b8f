# Written by tools/index.py; do not edit.
from typing import Any

from chainrule.tensor.tensor import Tensor as Tensor
from chainrule.ops.fourier import fft as fft
from chainrule.ops.fourier import fft2 as fft2
from chainrule.ops.fourier import fftfreq as fftfreq
from chainrule.ops.fourier import fftn as fftn
from chainrule.ops.fourier import fftshift as fftshift
from chainrule.ops.fourier import hfft as hfft
from chainrule.ops.fourier import ifft as ifft
from chainrule.ops.fourier import ifft2 as ifft2
from chainrule.ops.fourier import ifftn as ifftn
from chainrule.ops.fourier import ifftshift as ifftshift
from chainrule.ops.fourier import ihfft as ihfft
from chainrule.ops.fourier import irfft as irfft
from chainrule.ops.fourier import irfft2 as irfft2
from chainrule.ops.fourier import irfftn as irfftn
from chainrule.ops.fourier import rfft as rfft
from chainrule.ops.fourier import rfft2 as rfft2
from chainrule.ops.fourier import rfftfreq as rfftfreq
from chainrule.ops.fourier import rfftn as rfftn

