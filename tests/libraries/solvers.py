"""Programs of libraries that solve: linear systems, roots, minima, integrals, interpolation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, normal, program


def well_conditioned(rng, *shape):
    """Return matrices whose diagonals dominate."""
    noise = rng.standard_normal(shape)
    return (noise + 2 * shape[-1] * np.eye(shape[-1])).astype(np.float32)


@program("lineax")
def lineax_lu():
    """A batch of dense systems by LU."""
    import lineax as lx

    def solve(matrix, vector):
        return lx.linear_solve(lx.MatrixLinearOperator(matrix), vector, lx.LU()).value

    rng = np.random.default_rng(0)
    values = [(well_conditioned(rng, n, 4, 4), normal(rng, n, 4)) for n in (1, 3, 7)]
    values += [(np.eye(4, dtype=np.float32)[None] * 1e6, np.zeros((1, 4), np.float32))]
    return Case(fn=jax.vmap(solve), inputs=[("B", 4, 4), ("B", 4)], values=values)


@program("lineax")
def lineax_cg():
    """Conjugate gradients with a positive definite operator and its adjoint."""
    import lineax as lx

    def solve(root, vector):
        operator = lx.MatrixLinearOperator(root @ root.T + 5 * jnp.eye(5), lx.positive_semidefinite_tag)
        return lx.linear_solve(operator, vector, lx.CG(rtol=1e-6, atol=1e-6)).value

    rng = np.random.default_rng(1)
    values = [(normal(rng, 5, 5), normal(rng, 5)) for _ in range(4)]
    values += [(np.zeros((5, 5), np.float32), np.ones(5, np.float32))]
    return Case(fn=solve, inputs=[(5, 5), (5,)], values=values)


@program("lineax")
def lineax_least_squares():
    """Least squares by QR, and a tridiagonal system."""
    import lineax as lx

    def solve(matrix, vector, diagonal):
        tall = lx.linear_solve(lx.MatrixLinearOperator(matrix), vector, lx.QR()).value
        ones = jnp.ones(2)
        bands = lx.TridiagonalLinearOperator(diagonal, ones, -ones)
        return tall, lx.linear_solve(bands, tall).value

    rng = np.random.default_rng(2)
    values = [(normal(rng, 6, 3), normal(rng, 6), 3 + rng.random(3, np.float32)) for _ in range(5)]
    return Case(fn=solve, inputs=[(6, 3), (6,), (3,)], values=values)


@program("optimistix")
def optimistix_root():
    """A root by Newton's method, for a batch of parameters."""
    import optimistix as optx

    def root(a):
        def residual(y, a):
            return jnp.array([y[0] ** 2 + y[1] - a[0], y[1] ** 3 + y[0] - a[1]])

        solver = optx.Newton(rtol=1e-6, atol=1e-6)
        return optx.root_find(residual, solver, jnp.ones(2), a, max_steps=32, throw=False).value

    rng = np.random.default_rng(0)
    values = [(2 + rng.random((n, 2), np.float32),) for n in (1, 3, 7)]
    return Case(fn=jax.vmap(root), inputs=[("B", 2)], values=values)


@program("optimistix")
def optimistix_curve():
    """A curve fitted by Levenberg-Marquardt."""
    import optimistix as optx

    times = jnp.linspace(0, 2, 9)

    def fit(observed):
        def residual(params, observed):
            return params[0] * jnp.exp(-params[1] * times) - observed

        solver = optx.LevenbergMarquardt(rtol=1e-5, atol=1e-5)
        return optx.least_squares(residual, solver, jnp.array([1.0, 1.0]), observed, max_steps=64, throw=False).value

    rng = np.random.default_rng(0)
    values = [((a * np.exp(-b * np.asarray(times))).astype(np.float32),) for a, b in 1 + rng.random((5, 2))]
    return Case(fn=fit, inputs=[(9,)], values=values)


@program("optimistix")
def optimistix_minimum():
    """The minimum of Rosenbrock's function by BFGS, from any start."""
    import optimistix as optx

    def minimum(start):
        def loss(y, _):
            return (1 - y[0]) ** 2 + 10 * (y[1] - y[0] ** 2) ** 2

        return optx.minimise(loss, optx.BFGS(rtol=1e-4, atol=1e-4), start, max_steps=128, throw=False).value

    rng = np.random.default_rng(0)
    values = [(normal(rng, 2),) for _ in range(4)] + [(np.ones(2, np.float32),)]
    return Case(fn=minimum, inputs=[(2,)], values=values)


@program("jaxopt")
def jaxopt_lasso():
    """Lasso by proximal gradients."""
    import jaxopt

    rng = np.random.default_rng(0)
    design = jnp.asarray(normal(rng, 10, 4))

    def lasso(target, strength):
        def loss(w, target):
            return 0.5 * jnp.mean((design @ w - target) ** 2)

        solver = jaxopt.ProximalGradient(fun=loss, prox=jaxopt.prox.prox_lasso, maxiter=30, tol=1e-4)
        return solver.run(jnp.zeros(4), strength, target).params

    values = [(normal(rng, 10), np.float32(s)) for s in (0.01, 0.1, 0.3)] + [
        (np.zeros(10, np.float32), np.float32(1)),
        (normal(rng, 10), np.float32(100)),
    ]
    return Case(fn=lasso, inputs=[(10,), ()], values=values)


@program("jaxopt")
def jaxopt_lbfgs():
    """Logistic regression by LBFGS."""
    import jaxopt

    rng = np.random.default_rng(0)
    design = jnp.asarray(normal(rng, 12, 3))

    def fit(labels):
        def loss(w):
            logits = design @ w
            return jnp.mean(jax.nn.softplus(logits) - labels * logits) + 0.05 * jnp.sum(w**2)

        return jaxopt.LBFGS(fun=loss, maxiter=15, tol=1e-4).run(jnp.zeros(3)).params

    values = [((rng.random(12) < p).astype(np.float32),) for p in (0.5, 0.3, 0.7, 0.0, 1.0)]
    return Case(fn=fit, inputs=[(12,)], values=values)


@program("jaxopt")
def jaxopt_quadratic_program():
    """A quadratic program with bounds, by OSQP."""
    import jaxopt

    def solve(linear):
        quadratic = jnp.array([[2.0, 0.5], [0.5, 1.0]])
        bounds = jnp.concatenate([jnp.eye(2), -jnp.eye(2)])
        solver = jaxopt.OSQP(maxiter=200, tol=1e-3)
        return solver.run(params_obj=(quadratic, linear), params_ineq=(bounds, jnp.ones(4))).params.primal

    rng = np.random.default_rng(0)
    values = [(normal(rng, 2),) for _ in range(4)] + [(np.zeros(2, np.float32),)]
    return Case(fn=solve, inputs=[(2,)], values=values)


@program("quadax")
def quadax_gauss_kronrod():
    """An integral by adaptive Gauss-Kronrod quadrature."""
    import quadax

    def integral(a):
        return quadax.quadgk(lambda t: jnp.exp(-(t**2)) * jnp.cos(a * t), [0.0, 2.0], epsabs=1e-5, epsrel=1e-5)[0]

    return Case(fn=integral, inputs=[()], values=[(np.float32(a),) for a in (0, 1, -2.5, 7, 20)])


@program("quadax")
def quadax_samples():
    """Simpson's rule over samples."""
    import quadax

    return Case(fn=lambda y: quadax.simpson(y, dx=0.1), inputs=[("B", 9)])


@program("interpax")
def interpax_cubic():
    """A cubic spline at any number of points, and a bicubic one."""
    import interpax

    x = jnp.linspace(0, 1, 8)
    curve = jnp.sin(5 * x)
    surface = jnp.outer(curve, jnp.cos(3 * x))

    def interpolate(at):
        once = interpax.interp1d(at, x, curve, method="cubic2", extrap=True)
        twice = interpax.interp2d(at, at[::-1], x, x, surface, method="cubic", extrap=0.0)
        return once, twice

    return Case(fn=interpolate, inputs=[(6,)])


@program("matfree")
def matfree_lanczos():
    """Eigenvalues by Lanczos' method, given products with a matrix."""
    from matfree import decomp, eig

    def eigenvalues(root, vector):
        matrix = root @ root.T
        tridiag = decomp.tridiag_sym(4, reortho="full")
        return eig.eigh_partial(tridiag)(lambda v: matrix @ v, vector)[0]

    rng = np.random.default_rng(0)
    values = [(normal(rng, 6, 6), normal(rng, 6)) for _ in range(5)]
    return Case(fn=eigenvalues, inputs=[(6, 6), (6,)], values=values)


@program("jaxlie")
def jaxlie_poses():
    """Poses composed, inverted and taken to tangents."""
    import jaxlie

    def pose(tangent, point):
        one = jaxlie.SE3.exp(tangent)
        other = jaxlie.SE3.from_rotation(jaxlie.SO3.from_x_radians(point[0]))
        return (one @ other.inverse()).log(), one @ point, other.as_matrix()

    rng = np.random.default_rng(0)
    values = [(normal(rng, n, 6), normal(rng, n, 3)) for n in (1, 3, 7)]
    values += [(np.zeros((1, 6), np.float32), np.zeros((1, 3), np.float32))]
    values += [(1e-6 * normal(rng, 2, 6), normal(rng, 2, 3))]
    return Case(fn=jax.vmap(pose), inputs=[("B", 6), ("B", 3)], values=values)
