"""Programs of libraries for probability: models, samplers, Gaussian processes, flows, filters, transport."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, keys, normal, program


@program("numpyro")
def numpyro_density():
    """The log density of a hierarchical model and its gradient."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer.util import log_density

    def model(observed):
        mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
        scale = numpyro.sample("scale", dist.HalfCauchy(5.0))
        with numpyro.plate("groups", 4):
            effect = numpyro.sample("effect", dist.StudentT(4.0, mean, scale))
            numpyro.sample("observed", dist.Normal(effect, 1.0), obs=observed)

    def density(mean, scale, effect, observed):
        latent = {"mean": mean, "scale": jnp.exp(scale), "effect": effect}
        return log_density(model, (observed,), {}, latent)[0]

    def run(*args):
        return jax.value_and_grad(density, argnums=(0, 1, 2))(*args)

    rng = np.random.default_rng(0)
    values = [(normal(rng), normal(rng), normal(rng, 4), normal(rng, 4)) for _ in range(4)]
    values += [tuple(4 * v for v in values[0]), tuple(np.zeros_like(v) for v in values[0])]
    return Case(fn=run, inputs=[(), (), (4,), (4,)], values=values)


@program("numpyro")
def numpyro_predictive():
    """Predictions from the samples of a posterior, with random noise."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import Predictive

    def model(x):
        weight = numpyro.sample("weight", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
        noise = numpyro.sample("noise", dist.Gamma(2.0, 3.0))
        numpyro.sample("y", dist.Normal(x @ weight, noise))

    def predict(key, weight, noise, x):
        posterior = {"weight": weight, "noise": noise}
        return Predictive(model, posterior)(key, x)["y"]

    rng = np.random.default_rng(0)
    values = [
        (jax.random.PRNGKey(i), normal(rng, 6, 3), rng.random(6, np.float32), normal(rng, 5, 3)) for i in range(4)
    ]
    return Case(fn=predict, inputs=[jax.random.PRNGKey(0), (6, 3), (6,), (5, 3)], values=values)


@program("numpyro")
def numpyro_hmc():
    """Steps of the No-U-Turn sampler."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import NUTS

    def model(observed):
        mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
        numpyro.sample("observed", dist.Normal(mean, 1.0), obs=observed)

    def chain(key, observed):
        kernel = NUTS(model, step_size=0.3, adapt_step_size=False, adapt_mass_matrix=False, max_tree_depth=3)
        state = kernel.init(key, 0, None, (observed,), {})
        state, means = jax.lax.scan(lambda s, _: (kernel.sample(s, (observed,), {}),) * 2, state, None, length=3)
        return means.z["mean"], means.accept_prob

    rng = np.random.default_rng(0)
    values = [(jax.random.PRNGKey(i), normal(rng, 5)) for i in range(3)]
    return Case(fn=chain, inputs=[jax.random.PRNGKey(0), (5,)], values=values)


@program("blackjax")
def blackjax_hmc():
    """Steps of Hamiltonian Monte Carlo, in a scan."""
    import blackjax

    def density(x):
        return -0.5 * jnp.sum(x**2) - 0.1 * jnp.sum(x**4)

    sampler = blackjax.hmc(density, step_size=0.1, inverse_mass_matrix=jnp.ones(3), num_integration_steps=5)

    def chain(key, start):
        def step(state, key):
            state, info = sampler.step(key, state)
            return state, (state.position, info.acceptance_rate)

        return jax.lax.scan(step, sampler.init(start), jax.random.split(key, 4))[1]

    rng = np.random.default_rng(0)
    values = [(key, normal(rng, 3)) for key in keys(4)] + [(jax.random.key(9), np.zeros(3, np.float32))]
    return Case(fn=chain, inputs=[jax.random.key(0), (3,)], values=values)


@program("blackjax")
def blackjax_tempered():
    """A step of adaptive tempered sequential Monte Carlo's resampling."""
    from blackjax.smc import resampling

    def resample(key, weights):
        probabilities = jax.nn.softmax(weights)
        return (
            resampling.systematic(key, probabilities, 8),
            resampling.stratified(key, probabilities, 8),
            resampling.residual(key, probabilities, 8),
        )

    rng = np.random.default_rng(0)
    values = [(key, normal(rng, 8)) for key in keys(5)]
    return Case(fn=resample, inputs=[jax.random.key(0), (8,)], values=values)


@program("tinygp")
def tinygp_posterior():
    """The likelihood of observations under a Gaussian process, its gradient, and predictions."""
    from tinygp import GaussianProcess, kernels

    x = jnp.linspace(0, 3, 8)
    new = jnp.linspace(0, 3, 5)

    def run(log_scale, observed):
        def process(log_scale):
            kernel = jnp.exp(log_scale[0]) * kernels.Matern32(jnp.exp(log_scale[1])) + 0.5 * kernels.ExpSquared(0.7)
            return GaussianProcess(kernel, x, diag=0.1)

        def likelihood(log_scale):
            return process(log_scale).log_probability(observed)

        value, gradient = jax.value_and_grad(likelihood)(log_scale)
        _, conditioned = process(log_scale).condition(observed, new)
        return value, gradient, conditioned.loc, conditioned.variance

    rng = np.random.default_rng(0)
    values = [(normal(rng, 2), normal(rng, 8)) for _ in range(4)] + [(np.zeros(2, np.float32), np.zeros(8, np.float32))]
    return Case(fn=run, inputs=[(2,), (8,)], values=values)


@program("gpjax")
def gpjax_predict():
    """Predictions of a conjugate posterior."""
    import gpjax as gpx

    x = jnp.linspace(0.0, 1.0, 6)[:, None]
    data = gpx.Dataset(X=x, y=jnp.sin(5 * x))
    prior = gpx.gps.Prior(mean_function=gpx.mean_functions.Zero(), kernel=gpx.kernels.RBF())
    posterior = prior * gpx.likelihoods.Gaussian(num_datapoints=6)

    def predict(new):
        predicted = posterior.predict(new, data)
        return predicted.mean, predicted.variance

    rng = np.random.default_rng(0)
    values = [(normal(rng, 7, 1),) for _ in range(4)] + [(np.zeros((7, 1), np.float32),)]
    return Case(fn=predict, inputs=[(7, 1)], values=values)


@program("flowjax")
def flowjax_density():
    """The density of a masked autoregressive flow, for any batch."""
    import paramax
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow

    flow = masked_autoregressive_flow(jax.random.key(0), base_dist=Normal(jnp.zeros(3)), nn_width=8, flow_layers=2)
    return Case(fn=paramax.unwrap(flow).log_prob, inputs=[("B", 3)])


@program("flowjax")
def flowjax_sample():
    """Samples of a coupling flow of rational quadratic splines."""
    import paramax
    from flowjax.bijections import RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    spline = RationalQuadraticSpline(knots=4, interval=3)
    flow = coupling_flow(
        jax.random.key(0), base_dist=Normal(jnp.zeros(2)), transformer=spline, nn_width=8, flow_layers=2
    )
    flow = paramax.unwrap(flow)
    return Case(fn=lambda key: flow.sample(key, (5,)), inputs=[jax.random.key(0)], values=[(k,) for k in keys(4)])


@program("ott-jax")
def ott_sinkhorn():
    """The entropic distance of two point clouds by Sinkhorn's iterations, with its gradient."""
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    def distance(x, y):
        geometry = pointcloud.PointCloud(x, y, epsilon=0.5)
        return sinkhorn.Sinkhorn(max_iterations=20)(linear_problem.LinearProblem(geometry)).reg_ot_cost

    rng = np.random.default_rng(0)
    values = [(normal(rng, 6, 2), normal(rng, 5, 2)) for _ in range(5)]
    return Case(fn=jax.value_and_grad(distance), inputs=[(6, 2), (5, 2)], values=values)


@program("dynamax")
def dynamax_kalman():
    """Kalman's filter and smoother of a linear Gaussian model."""
    from dynamax.linear_gaussian_ssm import LinearGaussianSSM

    model = LinearGaussianSSM(2, 2)
    params, _ = model.initialize(jax.random.PRNGKey(0))

    def smooth(observed):
        posterior = model.smoother(params, observed)
        return posterior.marginal_loglik, posterior.filtered_means, posterior.smoothed_means

    rng = np.random.default_rng(0)
    values = [(normal(rng, 6, 2),) for _ in range(4)] + [(np.zeros((6, 2), np.float32),)]
    return Case(fn=smooth, inputs=[(6, 2)], values=values)


@program("dynamax")
def dynamax_hidden_markov():
    """The forward-backward algorithm and Viterbi's, of a Gaussian hidden Markov model."""
    from dynamax.hidden_markov_model import GaussianHMM

    model = GaussianHMM(3, 2)
    params, _ = model.initialize(jax.random.PRNGKey(0))

    def infer(observed):
        posterior = model.smoother(params, observed)
        return posterior.marginal_loglik, posterior.smoothed_probs, model.most_likely_states(params, observed)

    rng = np.random.default_rng(0)
    values = [(normal(rng, 7, 2),) for _ in range(4)] + [(np.zeros((7, 2), np.float32),)]
    return Case(fn=infer, inputs=[(7, 2)], values=values)


@program("tfp-nightly")
def tfp_mixture():
    """The density of a mixture, transformed, and its samples."""
    from tensorflow_probability.substrates import jax as tfp

    tfd = tfp.distributions

    def run(key, x, logits):
        mixture = tfd.MixtureSameFamily(tfd.Categorical(logits=logits), tfd.VonMises(jnp.arange(3.0), 2.0))
        gamma = tfd.TransformedDistribution(tfd.Gamma(2.0, 3.0), tfp.bijectors.Log())
        return mixture.log_prob(x), gamma.log_prob(x), gamma.sample(4, seed=key)

    rng = np.random.default_rng(0)
    values = [(jax.random.PRNGKey(i), normal(rng, 5), normal(rng, 3)) for i in range(4)]
    return Case(fn=run, inputs=[jax.random.PRNGKey(0), (5,), (3,)], values=values)


@program("signax")
def signax_signature():
    """The truncated signature of paths and its logarithm."""
    import signax

    def run(path):
        return signax.signature(path, 3), signax.logsignature(path, 3)

    return Case(fn=run, inputs=[(6, 2)])


@program("efax")
def efax_families():
    """Exponential families: parameters, entropies, divergences and densities."""
    import efax

    def run(shape, rate, x):
        natural = efax.GammaNP(-jnp.exp(rate), jnp.exp(shape))
        other = efax.GammaNP(-jnp.exp(rate) - 0.5, jnp.exp(shape) + 1)
        expected = natural.to_exp()
        return expected.mean, natural.entropy(), natural.pdf(x), natural.kl_divergence(other)

    rng = np.random.default_rng(0)
    values = [(normal(rng, n), normal(rng, n), rng.random(n, np.float32)) for n in (1, 3, 7)]
    return Case(fn=run, inputs=[("B",), ("B",), ("B",)], values=values)


@program("tsnex")
def tsnex_embedding():
    """An embedding of points in the plane by t-SNE."""
    import tsnex

    def embed(points):
        return tsnex.transform(points, n_components=2, n_iter=10, perplexity=3.0, seed=0, init="random")

    rng = np.random.default_rng(0)
    return Case(fn=embed, inputs=[(8, 4)], values=[(normal(rng, 8, 4),) for _ in range(4)])
