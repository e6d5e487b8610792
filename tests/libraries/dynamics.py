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
    values = [(normal(rng, 2), normal(rng, 1)) for _ in range(2)]
    values += [(np.array([0.3, 0.0], np.float32), np.zeros(1, np.float32))]
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


@program("jaxley")
def jaxley_neuron():
    """The voltage of a neuron with Hodgkin and Huxley's channels, under a current."""
    import jaxley as jx
    from jaxley.channels import HH

    cell = jx.Cell(jx.Branch(jx.Compartment(), ncomp=2), parents=[-1, 0])
    cell.insert(HH())
    cell.branch(1).loc(1.0).record("v", verbose=False)

    def voltage(current):
        stimuli = cell.branch(0).loc(0.0).data_stimulate(current)
        return jx.integrate(cell, data_stimuli=stimuli, delta_t=0.025)

    rng = np.random.default_rng(0)
    values = [(0.1 * normal(rng, 8),) for _ in range(4)] + [(np.zeros(8, np.float32),)]
    return Case(fn=voltage, inputs=[(8,)], values=values)


@program("phiflow")
def phiflow_smoke():
    """Steps of smoke: advection, buoyancy and diffusion on a grid."""
    from phi.jax import flow

    def step(density):
        smoke = flow.CenteredGrid(flow.tensor(density, flow.spatial("x,y")), flow.extrapolation.BOUNDARY, x=8, y=8)
        velocity = flow.StaggeredGrid((0.3, 0.5), 0, x=8, y=8)
        for _ in range(2):
            smoke = flow.advect.mac_cormack(smoke, velocity, dt=1.0)
            smoke = flow.diffuse.explicit(smoke, 0.1, dt=1.0)
        return smoke.values.native("x,y")

    rng = np.random.default_rng(0)
    values = [(rng.random((8, 8), np.float32),) for _ in range(4)] + [(np.zeros((8, 8), np.float32),)]
    return Case(fn=step, inputs=[(8, 8)], values=values)


@program("netket")
def netket_energy():
    """The log amplitudes of a restricted Boltzmann machine, and local energies of a spin chain."""
    import netket as nk

    hilbert = nk.hilbert.Spin(0.5, 4)
    hamiltonian = nk.operator.IsingJax(hilbert, nk.graph.Chain(4), h=1.0)
    machine = nk.models.RBM(alpha=2, param_dtype=float)
    variables = machine.init(jax.random.key(0), jnp.ones((1, 4)))

    def energies(spins):
        amplitudes = machine.apply(variables, spins)
        connected, elements = hamiltonian.get_conn_padded(spins)
        ratios = jnp.exp(machine.apply(variables, connected) - amplitudes[:, None])
        return amplitudes, jnp.sum(elements * ratios, axis=-1)

    rng = np.random.default_rng(0)
    values = [(rng.choice([-1.0, 1.0], (n, 4)).astype(np.float32),) for n in (5, 5, 5, 5)]
    return Case(fn=energies, inputs=[(5, 4)], values=values)


@program("qujax")
def qujax_circuit():
    """The state of a circuit of parametrised gates, and an expectation."""
    import qujax

    gates, qubits, parameters = ["H", "CX", "Rz", "Rx"], [[0], [0, 1], [1], [0]], [[], [], [0], [1]]
    state = qujax.get_params_to_statetensor_func(gates, qubits, parameters)
    expectation = qujax.get_statetensor_to_expectation_func([["X", "Z"], ["Y"]], [[0, 1], [0]], [1.0, 0.5])

    def run(angles):
        tensor = state(angles)
        return tensor, expectation(tensor)

    return Case(fn=run, inputs=[(2,)], values=_angles(2))


def _angles(count):
    rng = np.random.default_rng(0)
    return [(normal(rng, count),) for _ in range(4)] + [(np.zeros(count, np.float32),)]


@program("jaxoplanet")
def jaxoplanet_transit():
    """The light curve of a transit, with limb darkening, at any number of times."""
    from jaxoplanet.core.limb_dark import light_curve
    from jaxoplanet.orbits.keplerian import Central, System

    system = System(Central(radius=1.0, mass=1.0)).add_body(period=5.0, radius=0.1, eccentricity=0.3, omega_peri=0.5)
    darkening = jnp.array([0.3, 0.2])

    def curve(times):
        x, y, _ = jax.vmap(system.bodies[0].relative_position)(times)
        x, y = (getattr(part, "magnitude", part) for part in (x, y))
        return light_curve(darkening, jnp.sqrt(x**2 + y**2), 0.1)

    values = [(np.linspace(-a, a, 7, dtype=np.float32),) for a in (0.05, 0.2, 1, 20)]
    return Case(fn=curve, inputs=[(7,)], values=values)


@program("jax-cosmo")
def cosmo_distances():
    """Distances, growth and the linear matter power spectrum of a cosmology."""
    import jax_cosmo as jc

    def run(matter, sigma):
        cosmology = jc.Planck15(Omega_c=matter, sigma8=sigma)
        scale = jnp.array([0.5, 0.8, 1.0])
        chi = jc.background.radial_comoving_distance(cosmology, scale)
        growth = jc.background.growth_factor(cosmology, scale)
        return chi, growth, jc.power.linear_matter_power(cosmology, jnp.array([0.01, 0.1, 1.0]))

    pairs = ((0.25, 0.8), (0.3, 0.9), (0.2, 0.7), (0.35, 0.75))
    values = [tuple(np.float32(v) for v in pair) for pair in pairs]
    return Case(fn=run, inputs=[(), ()], values=values)
