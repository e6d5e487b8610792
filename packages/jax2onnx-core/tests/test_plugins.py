"""The loader: what is loaded, in which order, and what becomes of a plugin that fails."""

import sys
import threading

import pytest

from jax2onnx.errors import PluginConflictError, PluginError
from jax2onnx.plugin import loader as plugins

LOWERING = """
    @hookimpl
    def jax2onnx_register_lowerings(registry):
        registry.add({name!r}, lambda ctx, x: x{further})
"""


def lowering(name, further=""):
    return LOWERING.format(name=name, further=further)


def info(name, loaded=None):
    (found,) = [i for i in (loaded or plugins.load()).infos if i.name == name]
    return found


def owner(primitive):
    entry = plugins.load().registry().lowerings.find(primitive, 23)
    return entry.plugin if entry else None


def test_a_plugin_is_loaded_and_told_of(fake_plugin):
    fake_plugin("alpha", lowering("frob"))
    found = info("alpha")
    assert (found.status, found.distribution, found.version) == ("ok", "dist-alpha", "1.0")
    assert found.hooks == ("jax2onnx_register_lowerings",)
    assert owner("frob") == "alpha"
    assert plugins.load().describe("alpha") == "alpha 1.0"


def test_nothing_is_registered_before_the_registry_is_asked_for(fake_plugin):
    fake_plugin(
        "alpha",
        """
        calls = []
        @hookimpl
        def jax2onnx_register_lowerings(registry):
            calls.append(registry.plugin)
        """,
    )
    module = plugins.load().manager.get_plugin("alpha")
    assert module.calls == []
    plugins.load().registry()
    plugins.load().registry()
    assert module.calls == ["alpha"]


def test_a_plugin_that_cannot_be_imported_harms_nothing(fake_plugin):
    fake_plugin("alpha", "import does_not_exist")
    fake_plugin("beta", lowering("frob"))
    assert info("alpha").status == "broken"
    assert "No module named 'does_not_exist'" in info("alpha").reason
    with pytest.warns(UserWarning, match="alpha .*does_not_exist"):
        assert owner("frob") == "beta"
    assert "alpha (dist-alpha 1.0): broken" in plugins.load().problems()


def test_a_plugin_that_fails_to_register_leaves_nothing_behind(fake_plugin):
    fake_plugin("alpha", lowering("frob"))
    fake_plugin(
        "beta",
        lowering("half") + "        registry.add('frob', lambda ctx, x: x, override=True)\n        1 / 0\n",
        requires=["dist-alpha"],
    )
    with pytest.warns(UserWarning, match="beta .*ZeroDivisionError"):
        assert owner("half") is None
    assert owner("frob") == "alpha"
    assert info("beta").status == "broken"
    assert not plugins.load().manager.has_plugin("beta")


def test_two_that_collide_are_both_refused_with_both_names(fake_plugin):
    fake_plugin("alpha", lowering("frob"))
    fake_plugin("beta", lowering("frob"))
    fake_plugin("gamma", lowering("twirl"))
    with pytest.warns(UserWarning, match="'frob' is registered by both alpha and beta"):
        assert owner("frob") is None
    for name in ("alpha", "beta"):
        assert info(name).status == "broken"
        assert "the lowering of 'frob' is registered by both alpha and beta" in info(name).reason
    assert owner("twirl") == "gamma"


def test_a_collision_does_not_knock_out_the_projects_own_plugins(fake_plugin):
    fake_plugin("aaa", lowering("add"))
    with pytest.warns(UserWarning, match="'add' is registered by both lax and aaa"):
        assert owner("add") == "lax"
    assert (info("aaa").status, info("lax").status) == ("broken", "ok")


def test_a_plugin_that_registers_a_key_twice_names_only_itself(fake_plugin):
    fake_plugin("alpha", lowering("frob") + "        registry.add('frob', lambda ctx, x: x)\n")
    with pytest.warns(UserWarning, match="both alpha and alpha"):
        plugins.load().registry()
    assert info("alpha").status == "broken"


def test_override_is_no_collision(fake_plugin):
    fake_plugin("alpha", lowering("add", ", override=True"))
    assert owner("add") == "alpha"
    assert info("lax").status == "ok"


def test_two_of_one_name_are_both_refused(fake_plugin):
    fake_plugin("alpha", lowering("frob"), distribution="dist-one")
    fake_plugin("alpha", lowering("twirl"), distribution="dist-two")
    found = [i for i in plugins.load().infos if i.name == "alpha"]
    assert [i.status for i in found] == ["broken", "broken"]
    assert all("dist-one and dist-two" in i.reason for i in found)


def test_the_name_of_one_of_the_projects_own_cannot_be_taken(fake_plugin):
    fake_plugin("lax", lowering("frob"), distribution="dist-lax")
    found = {i.distribution: i.status for i in plugins.load().infos if i.name == "lax"}
    assert found == {"jax2onnx-lax": "ok", "dist-lax": "broken"}


def test_a_plugin_for_another_core_is_not_imported(fake_plugin):
    fake_plugin("alpha", "raise AssertionError('imported')", requires=["jax2onnx_core>=99"])
    assert info("alpha").status == "incompatible"
    assert "jax2onnx_core>=99" in info("alpha").reason


def test_a_requirement_whose_marker_does_not_apply_counts_for_nothing(fake_plugin):
    fake_plugin("alpha", requires=["jax2onnx-core>=99; python_version < '3'", "jax2onnx-core>=99; extra == 'next'"])
    assert info("alpha").status == "ok"


@pytest.mark.parametrize("named", ["alpha", "dist-alpha", " other , alpha"])
def test_disabled(fake_plugin, monkeypatch, named):
    fake_plugin("alpha", "raise AssertionError('imported')")
    fake_plugin("other")
    monkeypatch.setenv("JAX2ONNX_DISABLE_PLUGINS", named)
    assert info("alpha").status == "disabled"


def test_disabling_what_is_not_there_is_told(monkeypatch, fake_plugin):
    fake_plugin("alpha")
    monkeypatch.setenv("JAX2ONNX_DISABLE_PLUGINS", "alhpa")
    with pytest.warns(UserWarning, match="names no installed plugin: alhpa"):
        plugins.load()


def test_a_hook_that_does_not_exist_is_an_error(fake_plugin):
    fake_plugin("alpha", "@hookimpl\ndef jax2onnx_register_lowering(registry): ...\n")
    fake_plugin("beta", lowering("frob"))
    assert info("alpha").status == "broken"
    assert "jax2onnx_register_lowering" in info("alpha").reason
    assert info("beta").status == "ok"


def test_a_hook_with_another_signature_is_an_error(fake_plugin):
    fake_plugin("alpha", "@hookimpl\ndef jax2onnx_finalize(model, opset): ...\n")
    assert info("alpha").status == "broken"
    assert "opset" in info("alpha").reason
    assert not plugins.load().manager.has_plugin("alpha")


def test_strict_makes_a_failed_import_an_error(fake_plugin, monkeypatch):
    fake_plugin("alpha", "import does_not_exist")
    monkeypatch.setenv("JAX2ONNX_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"alpha .*does_not_exist"):
        plugins.load()


def test_strict_makes_a_failed_registration_an_error(fake_plugin, monkeypatch):
    fake_plugin("alpha", "@hookimpl\ndef jax2onnx_register_fusions(registry): 1 / 0\n")
    monkeypatch.setenv("JAX2ONNX_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"alpha .*ZeroDivisionError"):
        plugins.load().registry()


def test_strict_makes_a_collision_an_error(fake_plugin, monkeypatch):
    fake_plugin("alpha", lowering("frob"))
    fake_plugin("beta", lowering("frob"))
    monkeypatch.setenv("JAX2ONNX_STRICT_PLUGINS", "1")
    with pytest.raises(PluginConflictError, match="both alpha and beta"):
        plugins.load().registry()


def test_order_is_own_first_then_required_then_name(fake_plugin):
    fake_plugin("aaa", requires=["dist-zzz"])
    fake_plugin("bbb", requires=["dist-ccc"])
    fake_plugin("ccc", requires=["dist-bbb"])  # a circle; the order is still a fixed one
    fake_plugin("zzz", requires=["not a valid requirement !!"])
    names = [i.name for i in plugins.load().infos]
    assert names[-4:] == ["zzz", "aaa", "ccc", "bbb"]
    assert names.index("lax") < names.index("jnp")


def test_the_older_distribution_is_named_with_the_cure(fake_plugin):
    fake_plugin("alpha", distribution="jax2onnx")
    with pytest.raises(PluginError, match=r"jax2onnx-core and jax2onnx 1\.0.*pip uninstall jax2onnx"):
        plugins.load()


INCOMPLETE = {"missing": None, "empty": "", "no name": "Version: 1.0\n", "no version": "Name: dist-alpha\n"}


@pytest.fixture(params=INCOMPLETE)
def without_metadata(request):
    """Return a function that damages a distribution, as an interrupted installation or removal leaves it."""

    def damage(folder):
        text = INCOMPLETE[request.param]
        (folder / "METADATA").unlink()
        if text is not None:
            (folder / "METADATA").write_text(text)
        return folder

    return damage


def test_a_distribution_without_metadata_harms_nothing(fake_plugin, without_metadata):
    folder = without_metadata(fake_plugin("alpha", lowering("frob")))
    fake_plugin("beta", lowering("twirl"))
    found = info("alpha")
    assert (found.status, found.distribution, found.version) == ("broken", "dist-alpha", "1.0")
    assert found.reason.startswith(f"{folder} has no METADATA with a name and a version")
    assert "pip install --force-reinstall --no-deps dist_alpha" in found.reason
    with pytest.warns(UserWarning, match=r"alpha \(dist-alpha 1\.0\): broken, .*METADATA"):
        assert owner("twirl") == "beta"
    assert owner("frob") is None


def test_strict_makes_a_distribution_without_metadata_an_error(fake_plugin, without_metadata, monkeypatch):
    folder = without_metadata(fake_plugin("alpha", lowering("frob")))
    monkeypatch.setenv("JAX2ONNX_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=f"plugin alpha .*{folder} has no METADATA"):
        plugins.load()


@pytest.mark.parametrize("version", ["0.9", "1.1"])
def test_what_an_interrupted_upgrade_leaves_behind_is_no_plugin(fake_plugin, version):
    folder = fake_plugin("alpha", lowering("frob"))
    remains = folder.with_name(f"dist_alpha-{version}.dist-info")
    remains.mkdir()
    (remains / "entry_points.txt").write_text("[jax2onnx]\nalpha = does_not_exist\n")
    assert (info("alpha").status, info("alpha").version) == ("ok", "1.0")


def test_the_older_distribution_without_metadata_is_named_with_its_folder(fake_plugin, without_metadata):
    folder = without_metadata(fake_plugin("alpha", distribution="jax2onnx"))
    with pytest.raises(PluginError, match=f"jax2onnx 1.0, .*remove {folder}"):
        plugins.load()


def test_core_without_metadata_is_named_with_its_folder(fake_plugin, without_metadata, monkeypatch):
    folder = without_metadata(fake_plugin("alpha", distribution="jax2onnx-core"))
    monkeypatch.setattr(sys, "path", [str(folder.parent)])
    with pytest.raises(PluginError, match=f"{folder} has no METADATA.*--no-deps jax2onnx_core"):
        plugins.load()


def test_core_that_is_not_installed_is_an_error(tmp_path, fake_plugin, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(PluginError, match="jax2onnx-core is not installed"):
        plugins.load()


def test_threads_share_one_registry(fake_plugin):
    fake_plugin("alpha", lowering("frob"))
    found = []
    threads = [threading.Thread(target=lambda: found.append(plugins.load().registry())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_examples_are_registered_only_when_asked_for(fake_plugin):
    fake_plugin("alpha", lowering("frob") + "    @hookimpl\n    def jax2onnx_register_examples(registry): 1 / 0\n")
    assert owner("frob") == "alpha"
    with pytest.warns(UserWarning, match=r"alpha .*ZeroDivisionError"):
        assert "lax" in {e.plugin for e in plugins.load().examples()}
    assert info("alpha").status == "broken"
    assert owner("frob") is None  # which was said
