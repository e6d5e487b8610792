"""Programs of libraries that learn: environments, policies, losses, tree search, optimisers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, keys, normal, program


@program("gymnax")
def gymnax_rollout():
    """An episode of CartPole, played by a linear policy in a scan."""
    import gymnax

    env, params = gymnax.make("CartPole-v1")

    def rollout(key, weights):
        key, reset = jax.random.split(key)
        obs, state = env.reset(reset, params)

        def step(carry, key):
            obs, state = carry
            action = jnp.argmax(weights @ obs)
            obs, state, reward, done, _ = env.step(key, state, action, params)
            return (obs, state), (obs, reward, done)

        return jax.lax.scan(step, (obs, state), jax.random.split(key, 12))[1]

    rng = np.random.default_rng(0)
    values = [(key, normal(rng, 2, 4)) for key in keys(4)]
    return Case(fn=rollout, inputs=[jax.random.key(0), (2, 4)], values=values)


@program("gymnax")
def gymnax_breakout():
    """A step of MinAtar's Breakout, from a state after a few moves."""
    import gymnax

    env, params = gymnax.make("Breakout-MinAtar")

    def play(key, actions):
        _, state = env.reset(key, params)

        def step(state, action):
            obs, state, reward, done, _ = env.step(key, state, action, params)
            return state, (obs.sum((0, 1)), reward, done)

        return jax.lax.scan(step, state, actions)[1]

    rng = np.random.default_rng(0)
    values = [(key, rng.integers(0, 3, 8).astype(np.int32)) for key in keys(4)]
    return Case(fn=play, inputs=[jax.random.key(0), "int32[8]"], values=values)


@program("jumanji")
def jumanji_game_2048():
    """Moves of the game 2048."""
    import jumanji

    env = jumanji.make("Game2048-v1")

    def play(key, actions):
        state, _ = env.reset(key)

        def step(state, action):
            state, timestep = env.step(state, action)
            return state, (timestep.observation.board, timestep.reward, timestep.observation.action_mask)

        return jax.lax.scan(step, state, actions)[1]

    rng = np.random.default_rng(0)
    values = [(jax.random.PRNGKey(i), rng.integers(0, 4, 6).astype(np.int32)) for i in range(4)]
    return Case(fn=play, inputs=[jax.random.PRNGKey(0), "int32[6]"], values=values)


@program("pgx")
def pgx_connect_four():
    """Moves of Connect Four."""
    import pgx

    env = pgx.make("connect_four")

    def play(actions):
        state = env.init(jax.random.key(0))

        def step(state, action):
            state = env.step(state, action)
            return state, (state.observation, state.rewards, state.terminated, state.legal_action_mask)

        return jax.lax.scan(step, state, actions)[1]

    rng = np.random.default_rng(0)
    values = [(rng.integers(0, 7, 10).astype(np.int32),) for _ in range(4)]
    values += [(np.array([3, 0, 3, 0, 3, 0, 3, 0, 1, 1], np.int32),)]
    return Case(fn=play, inputs=["int32[10]"], values=values)


@program("distrax")
def distrax_flow():
    """The density of a normalizing flow of affine couplings, for any batch."""
    import distrax

    key = jax.random.key(0)
    weights = [0.3 * jax.random.normal(k, (2, 4)) for k in jax.random.split(key, 2)]

    def coupling(index):
        mask = jnp.arange(2) % 2 == index
        return distrax.MaskedCoupling(
            mask=mask,
            bijector=lambda p: distrax.ScalarAffine(shift=p[..., :2], log_scale=jnp.tanh(p[..., 2:])),
            conditioner=lambda x: x @ weights[index],
        )

    flow = distrax.Chain([coupling(0), coupling(1)])
    base = distrax.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
    return Case(fn=distrax.Transformed(base, flow).log_prob, inputs=[("B", 2)])


@program("distrax")
def distrax_policy():
    """An action, its log probability and the entropy of a squashed Gaussian policy and a categorical one."""
    import distrax

    def act(key, mean, logits):
        gaussian = distrax.Transformed(
            distrax.MultivariateNormalDiag(mean, 0.5 * jnp.ones(3)), distrax.Block(distrax.Tanh(), 1)
        )
        action, log_prob = gaussian.sample_and_log_prob(seed=key)
        choice = distrax.Categorical(logits=logits)
        return (
            action,
            log_prob,
            choice.sample(seed=key),
            choice.entropy(),
            choice.kl_divergence(distrax.Categorical(logits=0 * logits)),
        )

    rng = np.random.default_rng(0)
    return Case(
        fn=act,
        inputs=[jax.random.key(0), (4, 3), (4, 5)],
        values=[(k, normal(rng, 4, 3), normal(rng, 4, 5)) for k in keys(4)],
    )


@program("rlax")
def rlax_losses():
    """Returns and errors: TD(lambda), V-trace, retrace and generalized advantages."""
    import rlax

    def losses(rewards, values, log_rhos):
        discounts = jnp.full(rewards.shape, 0.9)
        advantages = rlax.truncated_generalized_advantage_estimation(rewards, discounts, 0.8, values)
        returns = rlax.lambda_returns(rewards, discounts, values[1:], 0.7)
        errors = rlax.vtrace(values[:-1], values[1:], rewards, discounts, jnp.exp(log_rhos))
        return advantages, returns, errors

    return Case(fn=losses, inputs=[(5,), (6,), (5,)])


@program("rlax")
def rlax_categorical():
    """Distributional Q-learning: projected targets, and its loss with gradients."""
    import rlax

    atoms = jnp.linspace(-1.0, 1.0, 7)

    def loss(logits, reward, next_logits):
        q = jax.vmap(rlax.categorical_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0))
        actions = jnp.zeros(reward.shape, jnp.int32)
        return q(atoms, logits, actions, reward, jnp.full(reward.shape, 0.9), atoms, next_logits).sum()

    rng = np.random.default_rng(0)
    values = [(normal(rng, n, 3, 7), normal(rng, n), normal(rng, n, 3, 7)) for n in (1, 3, 7)]
    return Case(fn=jax.value_and_grad(loss), inputs=[("B", 3, 7), ("B",), ("B", 3, 7)], values=values)


@program("mctx")
def mctx_search():
    """Gumbel MuZero's tree search, over a learned model."""
    import mctx

    rng = np.random.default_rng(0)
    transition = jnp.asarray(0.5 * normal(rng, 3, 4, 4))
    prior = jnp.asarray(normal(rng, 4, 3))

    def recurrent(params, key, action, embedding):
        embedding = jnp.tanh(jnp.einsum("bi,bij->bj", embedding, transition[action]))
        batch = embedding.shape[0]
        output = mctx.RecurrentFnOutput(
            reward=embedding[:, 0], discount=jnp.full(batch, 0.9), prior_logits=embedding @ prior, value=embedding[:, 1]
        )
        return output, embedding

    def search(key, embedding):
        root = mctx.RootFnOutput(prior_logits=embedding @ prior, value=embedding[:, 1], embedding=embedding)
        policy = mctx.gumbel_muzero_policy((), key, root, recurrent, num_simulations=6, max_depth=4)
        return policy.action, policy.action_weights

    values = [(key, normal(rng, 2, 4)) for key in keys(4)]
    return Case(fn=search, inputs=[jax.random.key(0), (2, 4)], values=values)


@program("evosax")
def evosax_cma():
    """A generation of CMA-ES: ask, evaluate, tell."""
    from evosax.algorithms import CMA_ES

    strategy = CMA_ES(population_size=6, solution=jnp.zeros(3))
    params = strategy.default_params

    def generation(key, mean):
        state = strategy.init(key, mean, params)
        population, state = strategy.ask(key, state, params)
        fitness = jnp.sum((population - 1.0) ** 2, axis=-1)
        state, _ = strategy.tell(key, population, fitness, state, params)
        return population, state.mean, state.std

    rng = np.random.default_rng(0)
    values = [(key, normal(rng, 3)) for key in keys(4)]
    return Case(fn=generation, inputs=[jax.random.key(0), (3,)], values=values)


@program("optax")
def optax_train_step():
    """A training step: gradients, clipping, AdamW with a schedule, new parameters."""
    import optax

    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 10)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    state = optimizer.init(params)

    def step(params, state, x, labels):
        def loss(p):
            return optax.softmax_cross_entropy_with_integer_labels(x @ p["w"] + p["b"], labels).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    rng = np.random.default_rng(0)
    values = [(params, state, normal(rng, n, 3), rng.integers(0, 2, n).astype(np.int32)) for n in (1, 3, 7)]
    return Case(fn=step, inputs=[params, state, ("B", 3), "int32[B]"], values=values)


@program("optax")
def optax_losses():
    """CTC, focal and Huber losses, with any batch."""
    import optax

    def losses(logits, targets):
        paddings = jnp.zeros(logits.shape[:2])
        labels = jnp.tile(jnp.array([[1, 2, 2]]), (logits.shape[0], 1))
        ctc = optax.ctc_loss(logits, paddings, labels, jnp.zeros(labels.shape))
        focal = optax.sigmoid_focal_loss(logits[..., 0], jax.nn.sigmoid(targets))
        return ctc, focal, optax.huber_loss(logits[..., 0], targets)

    return Case(fn=losses, inputs=[("B", 6, 4), ("B", 6)])


@program("xminigrid")
def xminigrid_steps():
    """Steps in a grid world with a partial view."""
    import xminigrid

    env, params = xminigrid.make("MiniGrid-Empty-5x5")

    def play(key, actions):
        timestep = env.reset(params, key)

        def step(timestep, action):
            timestep = env.step(params, timestep, action)
            return timestep, (timestep.observation, timestep.reward)

        return jax.lax.scan(step, timestep, actions)[1]

    rng = np.random.default_rng(0)
    values = [(key, rng.integers(0, 6, 8).astype(np.int32)) for key in keys(4)]
    return Case(fn=play, inputs=[jax.random.key(0), "int32[8]"], values=values)
