"""Programs of libraries that simulate: differential equations, molecules, rigid bodies, quantum systems."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, normal, program


@program("diffrax")
def diffrax_neural_ode():
    """A neural ODE with adaptive steps, for a batch of starts."""
    import diffrax
    import equinox as eqx

    field = eqx.nn.MLP(2, 2, 8, 1, activation=jnp.tanh, key=jax.random.key(0))
    term = diffrax.ODETerm(lambda t, y, args: field(y) - 0.5 * y)

    def trajectory(start):
        return diffrax.diffeqsolve(
            term,
            diffrax.Tsit5(),
            0.0,
            1.0,
            0.1,
            start,
            saveat=diffrax.SaveAt(ts=jnp.linspace(0.0, 1.0, 5)),
            stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-4),
            max_steps=64,
            throw=False,
        ).ys

    rng = np.random.default_rng(0)
    values = [(normal(rng, n, 2),) for n in (1, 3, 7)] + [(np.zeros((1, 2), np.float32),), (100 * normal(rng, 2, 2),)]
    return Case(fn=jax.vmap(trajectory), inputs=[("B", 2)], values=values)


@program("diffrax")
def diffrax_sde():
    """A stochastic differential equation, driven by a Brownian motion of a given key."""
    import diffrax

    def path(key, start):
        motion = diffrax.VirtualBrownianTree(0.0, 1.0, tol=0.05, shape=(2,), key=key)
        drift = diffrax.ODETerm(lambda t, y, args: -y)
        diffusion = diffrax.ControlTerm(lambda t, y, args: jnp.diag(0.3 * jnp.cos(y)), motion)
        terms = diffrax.MultiTerm(drift, diffusion)
        return diffrax.diffeqsolve(terms, diffrax.Heun(), 0.0, 1.0, 0.1, start, max_steps=16).ys

    rng = np.random.default_rng(0)
    values = [(jax.random.key(i), normal(rng, 2)) for i in range(4)]
    return Case(fn=path, inputs=[jax.random.key(0), (2,)], values=values)


@program("diffrax")
def diffrax_stiff():
    """A stiff chemical system by an implicit method."""
    import diffrax

    def reaction(t, y, rates):
        a, b, c = rates
        first = -a * y[0] + c * y[1] * y[2]
        third = b * y[1] ** 2
        return jnp.stack([first, -first - third, third])

    def solve(rates):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(reaction),
            diffrax.Kvaerno3(),
            0.0,
            2.0,
            0.01,
            jnp.array([1.0, 0.0, 0.0]),
            args=rates,
            stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-5),
            max_steps=128,
            throw=False,
        ).ys

    values = [(np.array(r, np.float32),) for r in ((0.04, 3e3, 1e2), (0.1, 1e3, 1e1), (1, 1, 1), (0, 1, 1))]
    return Case(fn=solve, inputs=[(3,)], values=values)


@program("exponax")
def exponax_burgers():
    """Steps of Burgers' equation by exponential time differencing, with FFTs."""
    import exponax as ex

    stepper = ex.stepper.Burgers(1, 1.0, 16, 0.01, diffusivity=0.05)
    return Case(fn=ex.repeat(stepper, 3), inputs=[(1, 16)], values=_fields(0, 1, 16))


@program("exponax")
def exponax_navier_stokes():
    """A rollout of the vorticity of a two-dimensional flow."""
    import exponax as ex

    stepper = ex.stepper.NavierStokesVorticity(2, 1.0, 8, 0.01)
    return Case(fn=ex.rollout(stepper, 3), inputs=[(1, 8, 8)], values=_fields(1, 1, 8, 8))


def _fields(seed, *shape):
    rng = np.random.default_rng(seed)
    return [(normal(rng, *shape),) for _ in range(4)] + [(np.zeros(shape, np.float32),)]


@program("jax-md")
def jax_md_forces():
    """The energy and the forces of Lennard-Jones particles in a periodic box."""
    from jax_md import energy, quantity, space

    displacement, _ = space.periodic(4.0)
    pair = energy.lennard_jones_pair(displacement, sigma=0.8)
    force = quantity.force(pair)
    return Case(fn=lambda r: (pair(r), force(r)), inputs=[(8, 3)], values=[(p,) for p in _lattices(5)])


@program("jax-md")
def jax_md_dynamics():
    """Ten steps of molecular dynamics at constant energy."""
    from jax_md import energy, simulate, space

    displacement, shift = space.periodic(4.0)
    pair = energy.soft_sphere_pair(displacement, sigma=1.2)
    init, step = simulate.nve(pair, shift, 1e-2)

    def simulated(key, positions):
        state = init(key, positions, kT=0.5)
        final = jax.lax.fori_loop(0, 10, lambda i, s: step(s), state)
        return final.position, final.momentum

    values = [(jax.random.key(i), p) for i, p in enumerate(_lattices(3))]
    return Case(fn=simulated, inputs=[jax.random.key(0), (8, 3)], values=values)


def _lattices(count):
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[[0.9, 2.9]] * 3), -1).reshape(8, 3)
    return [(corners + 0.3 * rng.uniform(-1, 1, (8, 3))).astype(np.float32) for _ in range(count)]


@program("jax-md")
def jax_md_neighbors():
    """A neighbour list of fixed capacity, and the energy over it."""
    from jax_md import energy, space

    displacement, _ = space.periodic(4.0)
    neighbors, pair = energy.soft_sphere_neighbor_list(displacement, 4.0, sigma=2.5)
    first, *_ = _lattices(1)
    listed = neighbors.allocate(jnp.asarray(first))

    def total(positions):
        return pair(positions, listed.update(positions))

    return Case(fn=total, inputs=[(8, 3)], values=[(p,) for p in _lattices(5)])


@program("mujoco-mjx")
def mjx_pendulum():
    """Steps of a jointed body, with contacts."""
    import mujoco
    from mujoco import mjx

    model = mjx.put_model(mujoco.MjModel.from_xml_string(PENDULUM))
    start = mjx.make_data(model)

    def simulated(angles, torque):
        data = start.replace(qpos=angles, ctrl=torque)
        data, _ = jax.lax.scan(lambda d, _: (mjx.step(model, d), None), data, None, length=2)
        return data.qpos, data.qvel

    rng = np.random.default_rng(0)
    values = [(normal(rng, 2), normal(rng, 1)) for _ in range(3)]
    values += [(np.zeros(2, np.float32), np.zeros(1, np.float32))]
    return Case(fn=simulated, inputs=[(2,), (1,)], values=values)


PENDULUM = """
<mujoco>
  <option timestep="0.01" iterations="2" ls_iterations="4"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1" pos="0 0 -1.2"/>
    <body pos="0 0 0">
      <joint name="upper" type="hinge" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.6" size="0.05" contype="0" conaffinity="0"/>
      <body pos="0 0 -0.6">
        <joint name="lower" type="hinge" axis="0 1 0" damping="0.1"/>
        <geom type="sphere" pos="0 0 -0.55" size="0.08"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="upper"/></actuator>
</mujoco>
"""


@program("brax")
def brax_spring():
    """A step of the spring pipeline of an inverted pendulum."""
    from brax import envs

    env = envs.get_environment("inverted_pendulum", backend="spring")
    start = env.reset(jax.random.PRNGKey(0))

    def step(q, qd, action):
        pipeline = env.pipeline_init(q, qd)
        state = env.step(start.replace(pipeline_state=pipeline), action)
        return state.obs, state.reward, state.done

    rng = np.random.default_rng(0)
    values = [(0.1 * normal(rng, 2), normal(rng, 2), normal(rng, 1)) for _ in range(4)]
    return Case(fn=step, inputs=[(2,), (2,), (1,)], values=values)


@program("brax")
def brax_policy():
    """The inference function of a PPO policy, with normalised observations."""
    from brax.training.acme import running_statistics, specs
    from brax.training.agents.ppo import networks

    network = networks.make_ppo_networks(5, 2, preprocess_observations_fn=running_statistics.normalize)
    statistics = running_statistics.init_state(specs.Array((5,), jnp.dtype("float32")))
    policy_params = network.policy_network.init(jax.random.key(0))
    make = networks.make_inference_fn(network)
    policy = make((statistics, policy_params), deterministic=True)
    return Case(fn=lambda obs: policy(obs, jax.random.key(1))[0], inputs=[("B", 5)])


@program("dynamiqs")
def dynamiqs_schroedinger():
    """A driven oscillator by Schroedinger's equation."""
    import dynamiqs as dq

    dq.set_progress_meter(False)
    lowering = dq.destroy(4)

    def evolve(drive):
        hamiltonian = dq.number(4) + drive * (lowering + lowering.dag())
        result = dq.sesolve(hamiltonian, dq.basis(4, 0), jnp.linspace(0, 1, 3), exp_ops=[dq.number(4)], method=method())
        return result.expects.real

    method = functools.partial(dq.method.Tsit5, rtol=1e-4, atol=1e-4, max_steps=64)
    return Case(fn=evolve, inputs=[()], values=[(np.float32(d),) for d in (0, 0.1, 1, -2)])


@program("dynamiqs")
def dynamiqs_states():
    """Coherent states, their fidelity and the Wigner function."""
    import dynamiqs as dq

    def state(alpha):
        coherent = dq.coherent(8, alpha)
        cat = dq.unit(coherent + dq.coherent(8, -alpha))
        return dq.fidelity(coherent, cat), dq.expect(dq.number(8), cat).real

    return Case(fn=state, inputs=[()], values=[(np.float32(a),) for a in (0, 0.1, 1, -2)])
