"""Programs of libraries for neural networks."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, normal, program


@program("flax")
def flax_transformer():
    """A decoder of linen with causal attention, on tokens."""
    from flax import linen as nn

    class Decoder(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(11, 16)(tokens)
            for _ in range(2):
                h = nn.LayerNorm()(x)
                x = x + nn.MultiHeadDotProductAttention(num_heads=2)(h, mask=nn.make_causal_mask(tokens))
                h = nn.LayerNorm()(x)
                x = x + nn.Dense(16)(nn.gelu(nn.Dense(32)(h)))
            return nn.Dense(11)(nn.RMSNorm()(x))

    module = Decoder()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))
    return Case(fn=(module, variables), inputs=["int32[B,T]"])


@program("flax")
def flax_diffusion():
    """Images sampled by DDIM with a small U-Net of nnx."""
    from flax import nnx

    class UNet(nnx.Module):
        def __init__(self, rngs):
            self.time = nnx.Linear(8, 8, rngs=rngs)
            self.down = nnx.Conv(2, 8, (3, 3), strides=2, rngs=rngs)
            self.norm = nnx.GroupNorm(8, num_groups=2, rngs=rngs)
            self.up = nnx.ConvTranspose(8, 8, (2, 2), strides=(2, 2), rngs=rngs)
            self.out = nnx.Conv(10, 2, (3, 3), rngs=rngs)

        def __call__(self, x, t):
            angles = t * jnp.exp(-jnp.arange(4.0))
            embedded = self.time(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)]))
            h = nnx.silu(self.norm(self.down(x)) + embedded)
            return self.out(jnp.concatenate([self.up(h), x], -1))

    model = UNet(nnx.Rngs(0))
    alphas = jnp.cumprod(1 - jnp.linspace(1e-4, 0.02, 10))

    def sample(noise):
        def step(x, t):
            now = alphas[t]
            before = jnp.where(t > 0, alphas[t - 1], 1.0)
            predicted = model(x, t.astype(jnp.float32))
            start = jnp.clip((x - jnp.sqrt(1 - now) * predicted) / jnp.sqrt(now), -1, 1)
            return jnp.sqrt(before) * start + jnp.sqrt(1 - before) * predicted, None

        return jax.lax.scan(step, noise, jnp.arange(9, -1, -3))[0]

    return Case(fn=sample, inputs=[("B", 8, 8, 2)])


@program("flax")
def flax_recurrent():
    """A bidirectional GRU and an LSTM of nnx, over sequences."""
    from flax import nnx

    rngs = nnx.Rngs(0)
    both = nnx.Bidirectional(nnx.RNN(nnx.GRUCell(3, 4, rngs=rngs)), nnx.RNN(nnx.GRUCell(3, 4, rngs=rngs)))
    second = nnx.RNN(nnx.OptimizedLSTMCell(8, 4, rngs=rngs))
    return Case(fn=lambda x: second(both(x)), inputs=[("B", 6, 3)])


@program("dm-haiku")
def haiku_resnet():
    """A residual network, in inference."""
    import haiku as hk

    def forward(x, is_training):
        blocks = {"blocks_per_group": (1, 1, 1, 1), "channels_per_group": (8, 8, 8, 8), "use_projection": (True,) * 4}
        logits = {"w_init": hk.initializers.RandomNormal()}  # zeros otherwise
        net = hk.nets.ResNet(**blocks, num_classes=5, bottleneck=False, logits_config=logits)
        return net(x, is_training=is_training)

    pair = hk.without_apply_rng(hk.transform_with_state(forward))
    params, state = pair.init(jax.random.key(0), jnp.ones((1, 16, 16, 3)), is_training=True)

    def infer(x):
        return pair.apply(params, state, x, is_training=False)[0]

    return Case(fn=infer, inputs=[("B", 16, 16, 3)])


@program("dm-haiku")
def haiku_transformer():
    """Self-attention with a memory of keys, and a convolutional LSTM."""
    import haiku as hk

    def forward(x):
        attended = hk.MultiHeadAttention(2, 4, w_init=hk.initializers.VarianceScaling())(x, x, x)
        core = hk.GRU(6)
        outs, _ = hk.dynamic_unroll(core, attended, core.initial_state(x.shape[0]), time_major=False)
        return hk.LayerNorm(-1, create_scale=True, create_offset=True)(outs)

    pair = hk.without_apply_rng(hk.transform(forward))
    params = pair.init(jax.random.key(0), jnp.ones((1, 5, 8)))
    return Case(fn=functools.partial(pair.apply, params), inputs=[("B", 5, 8)])


@program("keras")
def keras_cnn():
    """A separable convolutional network with squeeze and excitation."""
    import keras

    x = keras.Input((16, 16, 3))
    h = keras.layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)
    h = keras.layers.BatchNormalization()(h)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(h)
    gate = keras.layers.Dense(8, activation="sigmoid")(keras.layers.Dense(4, activation="silu")(gate))
    h = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.AveragePooling2D(2)(h * gate))
    h = keras.layers.GlobalMaxPooling2D()(h)
    return Case(fn=keras.Model(x, keras.layers.Dense(5)(h)), inputs=[("B", 16, 16, 3)])


@program("keras")
def keras_attention():
    """Embedded tokens through attention and a bidirectional LSTM."""
    import keras

    tokens = keras.Input((6,), dtype="int32")
    h = keras.layers.Embedding(11, 8)(tokens)
    h = keras.layers.LayerNormalization()(h + keras.layers.MultiHeadAttention(2, 4)(h, h))
    h = keras.layers.Bidirectional(keras.layers.LSTM(5))(h)
    model = keras.Model(tokens, keras.layers.Dense(2, activation="softmax")(h))
    return Case(fn=model, inputs=["int32[B,6]"])


@program("equinox")
def equinox_state_space():
    """A diagonal state space model, by an associative scan of complex numbers."""
    import equinox as eqx

    class StateSpace(eqx.Module):
        log_decay: jax.Array
        angle: jax.Array
        into: eqx.nn.Linear
        out: jax.Array
        norm: eqx.nn.LayerNorm

        def __init__(self, key):
            one, two, three = jax.random.split(key, 3)
            self.log_decay = jax.random.uniform(one, (8,), minval=-2.0, maxval=0.0)
            self.angle = jnp.linspace(0, 3, 8)
            self.into = eqx.nn.Linear(4, 8, key=two)
            self.out = jax.random.normal(three, (4, 8))
            self.norm = eqx.nn.LayerNorm(4)

        def __call__(self, x):
            pole = jnp.exp(-jnp.exp(self.log_decay) + 1j * self.angle)
            driven = jax.vmap(self.into)(x).astype(jnp.complex64)
            poles = jnp.broadcast_to(pole, driven.shape)

            def combine(first, second):
                return first[0] * second[0], second[0] * first[1] + second[1]

            _, states = jax.lax.associative_scan(combine, (poles, driven))
            return jax.vmap(self.norm)(x + jax.nn.gelu((states @ self.out.T.astype(jnp.complex64)).real))

    return Case(fn=jax.vmap(StateSpace(jax.random.key(0))), inputs=[("B", 8, 4)])


@program("equinox")
def equinox_mixture():
    """A selective state space block beside a mixture of experts with top-2 routing."""
    import equinox as eqx

    keys = jax.random.split(jax.random.key(0), 3)
    router = eqx.nn.Linear(6, 4, key=keys[0])
    experts = eqx.filter_vmap(lambda key: eqx.nn.MLP(6, 6, 8, 1, key=key))(jax.random.split(keys[1], 4))
    attention = eqx.nn.MultiheadAttention(2, 6, key=keys[2])

    def block(x):
        x = x + attention(x, x, x)

        def token(t):
            scores, chosen = jax.lax.top_k(router(t), 2)
            outs = eqx.filter_vmap(lambda expert: expert(t))(experts)
            return jax.nn.softmax(scores) @ outs[chosen]

        return x + jax.vmap(token)(x)

    return Case(fn=jax.vmap(block), inputs=[("B", 5, 6)])


@program("penzai")
def penzai_llama():
    """A decoder in the manner of Llama, with rotary embeddings and named axes."""
    from penzai import pz
    from penzai.models.transformer.variants import llamalike_common

    config = llamalike_common.LlamalikeTransformerConfig(
        num_kv_heads=1,
        query_head_multiplier=2,
        embedding_dim=8,
        projection_dim=4,
        mlp_hidden_dim=16,
        num_decoder_blocks=2,
        vocab_size=11,
        mlp_variant="swiglu",
        tie_embedder_and_logits=True,
    )
    model = llamalike_common.build_llamalike_transformer(config, init_base_rng=jax.random.key(0))

    def logits(tokens):
        named = pz.nx.wrap(tokens).tag("batch", "seq")
        positions = pz.nx.wrap(jnp.arange(tokens.shape[1])).tag("seq")
        return model(named, token_positions=positions).unwrap("batch", "seq", "vocabulary")

    rng = np.random.default_rng(0)
    values = [(rng.integers(0, 11, (2, 6)).astype(np.int32),) for _ in range(4)]
    return Case(fn=logits, inputs=["int32[2,6]"], values=values)


@program("equimo")
def equimo_vit():
    """A vision transformer, for one image and for a batch."""
    import equimo.vision.models as em

    model = em.VisionTransformer(
        img_size=16,
        in_channels=3,
        dim=16,
        patch_size=8,
        num_heads=[2],
        depths=[2],
        num_classes=5,
        key=jax.random.key(0),
    )
    return Case(fn=jax.vmap(lambda x: model(x, key=jax.random.key(1), inference=True)), inputs=[("B", 3, 16, 16)])


@program("transformers")
def transformers_bert():
    """A BERT of flax, with masked and padded tokens."""
    from transformers import BertConfig, FlaxBertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = FlaxBertModel(BertConfig(vocab_size=30, max_position_embeddings=16, **sizes), seed=0)

    def encode(tokens, mask):
        out = model(tokens, attention_mask=mask)
        return out.last_hidden_state, out.pooler_output

    rng = np.random.default_rng(0)
    values = [_tokens(rng, n, 6) for n in (1, 3, 7)] + [(np.zeros((2, 6), np.int32), np.ones((2, 6), np.int32))]
    return Case(fn=encode, inputs=["int32[B,6]", "int32[B,6]"], values=values)


def _tokens(rng, *shape):
    """Return tokens and a mask in which some are padded."""
    mask = np.arange(shape[1])[None] < rng.integers(1, shape[1] + 1, (shape[0], 1))
    return rng.integers(0, 30, shape).astype(np.int32), mask.astype(np.int32)


@program("transformers")
def transformers_gpt2():
    """A GPT-2 of flax that generates greedily, with its cache of keys and values."""
    from transformers import FlaxGPT2LMHeadModel, GPT2Config

    config = GPT2Config(vocab_size=30, n_embd=8, n_layer=2, n_head=2, n_positions=16, bos_token_id=1, eos_token_id=2)
    model = FlaxGPT2LMHeadModel(config, seed=0)

    def generate(tokens):
        return model.generate(tokens, max_length=8, do_sample=False, pad_token_id=0).sequences

    rng = np.random.default_rng(0)
    values = [(rng.integers(3, 30, (2, 4)).astype(np.int32),) for _ in range(4)]
    return Case(fn=generate, inputs=["int32[2,4]"], values=values)


@program("transformers")
def transformers_clip():
    """A CLIP of flax: the similarity of images and texts."""
    from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig, FlaxCLIPModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = CLIPTextConfig(vocab_size=30, max_position_embeddings=8, eos_token_id=2, **sizes)
    vision = CLIPVisionConfig(image_size=16, patch_size=8, **sizes)
    model = FlaxCLIPModel(CLIPConfig.from_text_vision_configs(text, vision, projection_dim=4), seed=0)

    def similarity(tokens, images):
        return model(tokens, images).logits_per_image

    rng = np.random.default_rng(0)
    values = [(_tokens(rng, 2, 6)[0], normal(rng, 3, 3, 16, 16)) for _ in range(4)]
    return Case(fn=similarity, inputs=["int32[2,6]", (3, 3, 16, 16)], values=values)


@program("sympy2jax")
def sympy_expressions():
    """Expressions of sympy with trainable numbers, for any batch."""
    import sympy
    import sympy2jax

    x, y = sympy.symbols("x y")
    module = sympy2jax.SymbolicModule([2.5 * sympy.sin(x) * y**2 + sympy.exp(-x), sympy.Max(x, y) / 3])

    return Case(fn=lambda x, y: module(x=x, y=y), inputs=[("B",), ("B",)])


@program("klax")
def klax_convex():
    """An input-convex network of constrained weights, and its gradient."""
    import klax

    net = klax.nn.FICNN(3, "scalar", [8, 8], key=jax.random.key(0))
    final = klax.finalize(net)
    return Case(fn=jax.vmap(jax.value_and_grad(final)), inputs=[("B", 3)])
