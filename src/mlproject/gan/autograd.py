"""What a hand-written derivative asks of PyTorch's engine."""

from typing import Any

import torch


def is_wanted(ctx: Any, index: int) -> bool:
    """Whether the backward pass under way goes on to this input of a `torch.autograd.Function`.

    `ctx.needs_input_grad` says only that the input has a derivative. The gradient penalty asks for that by the images
    alone, and those by the weights, which cost as much, would be computed and thrown away. PyTorch's own derivatives
    ask its engine in the same way (pytorch issue 56500); it does not answer for leaves, which are taken as wanted.
    """
    if not ctx.needs_input_grad[index]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[index][0])
    except RuntimeError:
        return True
