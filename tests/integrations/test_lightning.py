"""The callback in a Trainer of Lightning, where that is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pl: Any = pytest.importorskip("pytorch_lightning")
pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore")]


class Net(pl.LightningModule):  # type: ignore[misc]  # known when it is installed
    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        hidden = self.first(batch[0])
        if self.way == "cut":
            hidden = hidden.detach()
        loss: torch.Tensor = self.last(hidden).pow(2).mean()
        return loss.detach() if self.way == "raises" else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def fitted(way: str, callbacks: list[Any]) -> Net:
    trainer = pl.Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    net = Net(way)
    rows = torch.arange(64.0).reshape(16, 4) / 64
    trainer.fit(net, DataLoader(TensorDataset(rows), batch_size=4))
    return net


def test_a_healthy_training_is_the_same_with_it_and_without() -> None:
    from gradcheck.integrations.lightning import GradcheckCallback

    callback = GradcheckCallback()
    with_it, without = fitted("", [callback]), fitted("", [])
    assert callback.report is not None
    assert callback.report.healthy
    pairs = zip(with_it.parameters(), without.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("way", "where"), [("cut", "hidden.detach()"), ("raises", "loss.detach()")]
)
def test_a_break_ends_it(way: str, where: str) -> None:
    from gradcheck.integrations.lightning import BrokenChainError, GradcheckCallback

    with pytest.raises(BrokenChainError, match="GC202") as caught:
        fitted(way, [GradcheckCallback()])
    (finding,) = [it for it in caught.value.report.findings if it.severity == "error"]
    assert finding.location is not None
    assert where in finding.location.text


def test_a_warning_lets_it_go_on() -> None:
    from gradcheck.integrations.lightning import GradcheckCallback

    callback = GradcheckCallback(on_findings="warn")
    with pytest.warns(UserWarning, match="GC202"):
        fitted("cut", [callback])
    assert callback.report is not None
    assert not callback.report.healthy


class Gan(pl.LightningModule):  # type: ignore[misc]  # known when it is installed
    """Two optimizers, called by hand: the critic's steps between the generator's forward and its own."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = False
        self.cut = cut
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
        self.critic = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def training_step(self, batch: Any, _: int) -> None:
        made, judged = self.optimizers()
        real, fake = batch[0], self.generator(torch.randn(4, 4))
        judged.zero_grad()
        self.manual_backward(
            nn.functional.softplus(self.critic(fake.detach()) - self.critic(real)).mean()
        )
        judged.step()
        if self.cut:
            fake = fake.detach()
        made.zero_grad()
        self.manual_backward(nn.functional.softplus(-self.critic(fake)).mean())
        made.step()

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(it.parameters()) for it in (self.generator, self.critic)]


def fitted_gan(callbacks: list[Any], *, cut: bool = False) -> Gan:
    trainer = pl.Trainer(
        max_steps=8,  # of either optimizer
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    net = Gan(cut=cut)
    rows = torch.arange(64.0).reshape(16, 4) / 64
    trainer.fit(net, DataLoader(TensorDataset(rows), batch_size=4))
    return net


def test_two_optimizers_are_watched_and_train_as_without() -> None:
    from gradcheck.integrations.lightning import GradcheckCallback

    callback = GradcheckCallback()
    with_it, without = fitted_gan([callback]), fitted_gan([])
    assert callback.report is not None
    assert callback.report.healthy
    assert dict(callback.report.setup)["steps"] == "8 taken, 4 recorded in full"
    pairs = zip(with_it.parameters(), without.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_generator_that_is_cut_off_is_found_beside_its_critic() -> None:
    from gradcheck.integrations.lightning import BrokenChainError, GradcheckCallback

    with pytest.raises(BrokenChainError, match="GC202") as caught:
        fitted_gan([GradcheckCallback()], cut=True)
    (finding,) = [it for it in caught.value.report.findings if it.severity == "error"]
    assert finding.location is not None
    assert finding.location.text == "fake = fake.detach()"
    assert all(fqn.startswith("generator.") for fqn in finding.parameters)
