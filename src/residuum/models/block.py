"""The residual block: y = ReLU(F(x) + shortcut(x)).   He et al. 2015 (arXiv 1512.03385), eq. 1 and 2.

Shapes: x is (N, C_in, H, W); F(x), the shortcut and y are (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).
No operation is done in place and each ReLU is a module used once, so that anything may be watched from outside:
`branch` gives F(x), `shortcut` gives what is added to it, `add` gives the sum, `relu` gives y.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import pad

from residuum.models.spec import NetSpec


class ResidualBlock(nn.Module):
    """y = ReLU(F(x) + shortcut(x)); without a shortcut, the plain net's y = ReLU(F(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.add = Add()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        F = self.branch(x)
        if self.shortcut is None:
            return self.relu(F)  # type: ignore[no-any-return]
        return self.relu(self.add(F, self.shortcut(x)))  # type: ignore[no-any-return]


class Add(nn.Module):
    """The addition, as a module, so that its output has a name."""

    def forward(self, F: Tensor, x: Tensor) -> Tensor:
        """Both (N, C, H, W)."""
        return F + x


# --- F, the branch ------------------------------------------------------------------------------


def basic_branch(c_in: int, width: int, stride: int) -> nn.Sequential:
    """F = W2 ReLU(W1 x), two 3×3 convolutions (Fig. 5 left); C_out = width."""
    return nn.Sequential(
        OrderedDict(
            conv1=convolution(c_in, width, 3, stride),
            bn1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(),
            conv2=convolution(width, width, 3, 1),
            bn2=nn.BatchNorm2d(width),
        )
    )


def bottleneck_branch(c_in: int, width: int, stride: int, stride_in: str) -> nn.Sequential:
    """F of 1×1, 3×3 and 1×1 convolutions (Fig. 5 right); C_out = 4 · width.

    The paper strides in the first 1×1; v1.5 (fb.resnet.torch, torchvision) in the 3×3.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=convolution(c_in, width, 1, stride if stride_in == "1x1" else 1),
            bn1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(),
            conv2=convolution(width, width, 3, stride if stride_in == "3x3" else 1),
            bn2=nn.BatchNorm2d(width),
            relu2=nn.ReLU(),
            conv3=convolution(width, 4 * width, 1, 1),
            bn3=nn.BatchNorm2d(4 * width),
        )
    )


def convolution(c_in: int, c_out: int, size: int, stride: int) -> nn.Conv2d:
    """A convolution without bias (the BN after it has one), padded to keep the map but for its stride."""
    return nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)


# --- the shortcut -------------------------------------------------------------------------------


class ZeroPad(nn.Module):
    """Option A where the shape changes: every `stride`-th pixel, then zero channels; no parameter (sec. 3.3).

    The zeros stand after the channels, as in fb.resnet.torch.
    """

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.zeros, self.stride = c_out - c_in, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.zeros))


def projection(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """W_s of eq. 2: a 1×1 convolution and its BN, no ReLU."""
    return nn.Sequential(OrderedDict(conv=convolution(c_in, c_out, 1, stride), bn=nn.BatchNorm2d(c_out)))


def make_shortcut(option: str, c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Options A, B, C of sec. 3.3, or None for the plain net."""
    changes_shape = stride != 1 or c_in != c_out
    if option == "none":
        return None
    if option == "C" or (option == "B" and changes_shape):
        return projection(c_in, c_out, stride)
    return ZeroPad(c_in, c_out, stride) if changes_shape else nn.Identity()


def make_block(spec: NetSpec, c_in: int, width: int, stride: int) -> ResidualBlock:
    """Build the block that `spec` asks for; C_out = width · spec.expansion."""
    if spec.block == "bottleneck":
        branch = bottleneck_branch(c_in, width, stride, spec.stride_in)
    else:
        branch = basic_branch(c_in, width, stride)
    return ResidualBlock(branch, make_shortcut(spec.shortcut, c_in, width * spec.expansion, stride))
