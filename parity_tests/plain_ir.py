"""IR and IR-SE as plain PyTorch modules, as their published weights' names have it."""

from collections import OrderedDict

from torch import Tensor, nn

from marginface.backbones.ir import Network


class Excitation(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * self.fc2(self.fc1(pooled).relu()).sigmoid()


class Unit(nn.Module):
    """A residual unit."""

    def __init__(self, before: int, channels: int, stride: int, network: Network) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if before != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        layers: list[nn.Module] = [
            nn.BatchNorm2d(before),
            nn.Conv2d(before, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        ]
        if network.evolve:
            del layers[2]
        named = OrderedDict((str(number), layer) for number, layer in enumerate(layers))
        if network.excites:
            named["5" if network.evolve else "se_block"] = Excitation(channels)
        self.res_layer = nn.Sequential(named)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class PlainIR(nn.Module):
    """A whole network for images of `side` x `side`, a multiple of 16."""

    def __init__(self, network: Network, size: int, side: int) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        units, before = [], 64
        for width, repeats in zip((64, 128, 256, 512), network.units, strict=True):
            for number in range(repeats):
                units.append(Unit(before, width, 1 if number else 2, network))
                before = width
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(0.5 if network.evolve else 0.4),
            nn.Flatten(),
            nn.Linear(512 * (side // 16) ** 2, size),
            nn.BatchNorm1d(size, affine=network.evolve),
        )

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.output_layer(self.body(self.input_layer(images)))
        return out
