import torch
from torchvision.transforms import v2

from metalearn_lite.datasets import per_image

turn = per_image(v2.RandomAffine(30, translate=(0.1, 0.1)))


def test_each_image_gets_a_transform_of_its_own(generator):
    same = torch.rand(1, 28, 28, generator=generator).expand(6, 1, 28, 28)
    turned = turn(same, generator)
    assert turned.shape == same.shape
    assert len({image.numpy().tobytes() for image in turned}) == 6


def test_a_whole_batch_would_get_the_same_one_without_it(generator):
    """The trap this function is there for."""
    same = torch.rand(1, 28, 28, generator=generator).expand(6, 1, 28, 28)
    turned = v2.RandomAffine(30)(same)
    assert all(torch.equal(turned[0], image) for image in turned)


def test_the_generator_alone_decides_and_the_global_one_is_left_alone(generator):
    x = torch.rand(4, 1, 28, 28, generator=generator)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = turn(x, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(turn(x, torch.Generator().manual_seed(3)), one)
    assert not torch.equal(turn(x, torch.Generator().manual_seed(4)), one)


def test_the_images_that_are_given_stay_as_they_are(generator):
    x = torch.rand(4, 1, 28, 28, generator=generator)
    before = x.clone()
    turn(x, generator)
    assert torch.equal(x, before)


def test_the_draws_of_an_image_are_those_of_one_whole_number_from_the_generator(generator):
    x = torch.zeros(2, 1)
    drawn = per_image(lambda image: image + torch.rand(1))(x, torch.Generator().manual_seed(3))
    seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(3)))
    assert torch.equal(drawn.flatten(), torch.rand(2, generator=generator.manual_seed(seed)))
