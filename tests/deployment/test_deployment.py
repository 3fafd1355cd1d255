"""s.yaml and template.yml: in order as they are, and every mistake in a copy of them is found and named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tools"))

import check_deployment  # noqa: E402 - from tools, which had to be made known first
import check_functions  # noqa: E402

_SCHEMAS = check_deployment.SCHEMAS
_NEEDS_SCHEMAS = pytest.mark.skipif(
    not (_SCHEMAS / "ros-resources.json").is_file(),
    reason="NOT TESTED, the vendor's descriptions are not beside the project",
)
_TIMER = "cronExpression: '@every 1m'"
_FC3 = "  Function3:\n    Type: ALIYUN::FC3::Function\n    Condition: IsFc3\n"

_INDEX3 = (
    "    # Its first log lines and metrics can be searched only if the index is there before them.\n"
    "    DependsOn: LogIndex\n"
)
_INDEX2 = "    # As above: a service's logs go where its functions' logs go.\n    DependsOn: LogIndex\n"

# What is wrong -> the file, what stands there, what stands there instead, and what is said about it.
MISTAKES = {
    # s.yaml, around the function
    "an edition of the past": ("s.yaml", "edition: 3.0.0", "edition: 1.0.0", "edition is not 3.0.0"),
    "a misspelt section": ("s.yaml", "\nresources:", "\nvar: {}\nresources:", "s.yaml: var is unknown"),
    "another component": ("s.yaml", "component: fc3", "component: fc", "is not of the component fc3"),
    "a misspelt key beside the component": ("s.yaml", "component: fc3", "component: fc3\n    prop: 1", "prop is unk"),
    "another zip": ("s.yaml", "dist/token-refresher.zip", "dist/code.zip", "code is not"),
    "a variable without quotes": ("s.yaml", "${env('APP_ID')}", "${env(APP_ID)}", "a form that is not documented"),
    "a default that is no JSON": ("s.yaml", "'[]'", "'['", "vpcConfig.vSwitchIds: the default is no JSON"),
    "a variable that no document names": ("s.yaml", "env('REGION'", "env('ZONE'", "does not name ZONE"),
    # the program
    "a handler that is not there": ("s.yaml", "handler: index.handler", "handler: index.main", "no index.main in"),
    "a module that is not there": ("template.yml", "index.initialize", "main.initialize", "no main.initialize in"),
    "a runtime that does not exist": ("s.yaml", "runtime: python3.10", "runtime: python3.11", "3.11 is not su"),
    "a runtime that ROS has not": ("template.yml", "Runtime: python3.10", "Runtime: python3.12", "is not supported"),
    "a misspelt setting": ("s.yaml", "REDIS_URL: $", "REDIS_URI: $", "REDIS_URI is no setting of the program"),
    "a setting that is missing": ("s.yaml", "        REDIS_URL: ${env('REDIS_URL')}\n", "", "needs REDIS_URL too"),
    "a reserved name": ("s.yaml", "LOG_LEVEL: $", "FC_LEVEL: $", "FC_LEVEL begins with FC_"),
    "a number among the variables": ("s.yaml", "LOG_LEVEL: ${env('LOG_LEVEL', 'INFO')}", "LOG_LEVEL: 20",
                                     "LOG_LEVEL is no text"),
    "too many variables": ("s.yaml", "        APP_ID:", "".join(f"        POLICY_{n}: x\n" for n in range(12))
                           + "        APP_ID:", "may not fit into 4096 bytes"),
    # secrets
    "a secret written out": ("s.yaml", "APP_SECRET: ${env('APP_SECRET')}", "APP_SECRET: sesame", "APP_SECRET is"),
    "a secret that ROS would show": ("template.yml", "NoEcho: true\n    MinLength: 1\n    Label: {en: Application",
                                     "MinLength: 1\n    Label: {en: Application", "APP_SECRET is secret"),
    "a password in an address": ("s.yaml", "# Empty: refresh", "# redis://:sesame@r-1.aliyuncs.com", "as if a sec"),
    "an access key": ("template.yml", "# It holds", "# LTAI5tMadeUpKey42 holds", "looks as if a secret stood in it"),
    "a code": ("s.yaml", "# Empty: refresh", f"# {'36bd5645' * 8}", "looks as if a secret stood in it"),
    # timer and times
    "five fields": ("s.yaml", _TIMER, "cronExpression: '* * * * *'", "neither six fields nor"),
    "an interval without a unit": ("template.yml", _TIMER, "cronExpression: '@every 60'", "neither six fields nor"),
    "a timer slower than the program thinks": ("s.yaml", _TIMER, "cronExpression: '@every 5m'", "fires every 300 s"),
    "a timer that is off": ("s.yaml", "enable: true", "enable: false", "the timer is not enabled"),
    "a payload that is no text": ("s.yaml", "payload: ''", "payload: {}", "the timer's payload is no text"),
    "a time-out too short": ("s.yaml", "timeout: 70", "timeout: 60", "too short for token and ticket, 62 s"),
    "a time-out too long": ("template.yml", "Timeout: 70", "Timeout: 100", "outlives the lease"),
    "no time-out": ("s.yaml", "      timeout: 70\n", "", "timeout_s is missing"),
    "an initializer without time": ("s.yaml", "timeout: 30", "timeout: 3", "time-out is not between 10 s and"),
    "events that grow old": ("s.yaml", "Seconds: 120", "Seconds: 18000", "18000 s are not between one tick and"),
    "many retries": ("s.yaml", "Attempts: 1", "Attempts: 3", "3 retries, where the next"),
    "an odd size": ("s.yaml", "memorySize: 128", "memorySize: 100", "100 MB of memory is no multiple of 64"),
    "vCPUs that do not go with the memory": ("s.yaml", "cpu: 0.1", "cpu: 0.35", "0.35 vCPU do not go with"),
    "files that differ": ("template.yml", "Timeout: 70", "Timeout: 75", "FC3: timeout_s is 75, in s.yaml"),
    "a variable in one file only": ("template.yml", "        LOG_LEVEL: {Ref: LogLevel}\n", "",
                                    "other environment variables than s.yaml: LOG_LEVEL"),
    # template.yml: names
    "a Ref to nothing": ("template.yml", "{Ref: ZoneId}", "{Ref: Zone}", "Ref Zone: there is neither a parameter nor"),
    "a Fn::Sub of none": ("template.yml", "${FunctionName}-${ALIYUN::Tenant", "${Name}-${ALIYUN::Tenant", "Ref Name"),
    "an unknown pseudo parameter": ("template.yml", "ALIYUN::TenantId", "ALIYUN::Tenant", "Ref ALIYUN::Tenant:"),
    "a Fn::GetAtt of nothing": ("template.yml", "[Eip, EipAddress]", "[EIP, EipAddress]", "there is no resource EIP"),
    "an attribute that is not there": ("template.yml", "[Eip, EipAddress]", "[Eip, Address]", "no attribute Address"),
    "an undefined condition": ("template.yml", "Condition: IsFc2", "Condition: IsFC2", "IsFC2 is not defined"),
    "an undefined condition in Fn::If": ("template.yml", "[FixedEgress, false, true]", "[Fixed, false, true]",
                                         "condition Fixed is not defined"),
    "an unused condition": ("template.yml", "\nConditions:\n", "\nConditions:\n  Odd: {Fn::Equals: ['', '']}\n",
                            "condition Odd is not used"),
    "an unused parameter": ("template.yml", "TTL: {Ref: LogDays}", "TTL: 30", "parameter LogDays is not used"),
    "a dependency on nothing": ("template.yml", "DependsOn: EipAssociation", "DependsOn: Association",
                                "SnatEntry depends on Association, which does not exist"),
    # template.yml: the order in which it is made
    "a function that does not wait for the index": ("template.yml", _INDEX3, "", "Function3 does not wait for LogI"),
    "a service that does not wait for the index": ("template.yml", _INDEX2, "", "Service2 does not wait for LogIndex"),
    "a timer that does not wait for the retries": ("template.yml", "[AsyncInvokeConfig3, ConcurrencyConfig3]",
                                                   "ConcurrencyConfig3", "Trigger3 does not wait for AsyncInvoke"),
    "a timer that does not wait for the limit": ("template.yml", "[AsyncInvokeConfig3, ConcurrencyConfig3]",
                                                 "AsyncInvokeConfig3", "Trigger3 does not wait for Concurrency"),
    # template.yml: form
    "an unknown section": ("template.yml", "\nOutputs:", "\nOutput: {}\nOutputs:", "Output: there is no such section"),
    "a misspelt key of a resource": ("template.yml", _FC3, _FC3.replace("Condition", "Conditon"), "have no such key"),
    "an unknown type of parameter": ("template.yml", "Type: Number", "Type: Integer", "type Integer is un"),
    "no Chinese label": ("template.yml", "Label: {en: Zone, zh-cn: 可用区}", "Label: {en: Zone}", "Label is miss"),
    "a default that is not allowed": ("template.yml", "Default: fc3", "Default: fc1", "its default is not among"),
    "a parameter in no group": ("template.yml", "SecurityGroupId, ZoneId]", "SecurityGroupId]", "is in no group"),
    "a group with a stranger": ("template.yml", "Parameters: [LogDays]", "Parameters: [LogDays, X]", "no parameter"),
    "an output without words": ("template.yml", "Description: Name of the function. 函数名。", "Description: ''",
                                "output FunctionName has no description"),
    # template.yml: its forms
    "a resource that is not made when it is needed": (
        "template.yml", "    Condition: IsFc2\n    Description", "    Description",
        "output ServiceName needs Service2, which is not made when FixedEgressIp is yes, Generation is fc3"),
}  # fmt: skip

AGAINST_THE_VENDOR = {
    # fc3-schema.json
    "a region that is not there": ("s.yaml", "'cn-hangzhou'", "'cn-mars'", "'cn-mars' is not one of"),
    "an odd amount of vCPU": ("s.yaml", "cpu: 0.1", "cpu: 0.01", "props.cpu"),
    "a misspelt property": ("s.yaml", "memorySize:", "memorysize:", "props.memorysize is unknown"),
    "a misspelt property further down": ("s.yaml", "vSwitchIds:", "vswitchIds:", "vpcConfig.vswitchIds is unk"),
    "a misspelt property of the timer": ("s.yaml", "payload: ''", "payLoad: ''", "payLoad is unknown"),
    "a timer without an expression": ("s.yaml", _TIMER, "cron: '@every 1m'", "'cronExpression' is a required"),
    # ros-resources.json
    "an unknown resource type": ("template.yml", "Type: ALIYUN::FC::Trigger", "Type: ALIYUN::FC::Timer",
                                 "Trigger2: there is no resource type ALIYUN::FC::Timer"),
    "a required property that is missing": ("template.yml", "      ZoneId: {Ref: ZoneId}\n", "      Description: "
                                            "{Ref: ZoneId}\n", "VSwitch.ZoneId is missing"),
    "an unknown property": ("template.yml", "      NatType: Enhanced", "      Natural: Enhanced", "Natural: "),
    "an unknown property further down": ("template.yml", "OssObjectName: {", "OssObjectKey: {", "Code.OssObjectKey: "),
    "a text for a number": ("template.yml", "Bandwidth: 5", "Bandwidth: '5'", "Bandwidth is no number"),
    "a text parameter for a number": ("template.yml", "Bandwidth: 5", "Bandwidth: {Ref: ZoneId}", "Bandwidth refers"),
    "a value that is not allowed": ("template.yml", "NatType: Enhanced", "NatType: Normal", "is none of"),
    "a text for a list": ("template.yml", "Service: [fc.aliyuncs.com]", "Service: fc.aliyuncs.com", "Service is no"),
    "a hole in a list": ("template.yml", "Action: ['log:PostLogStoreLogs']", "Action: [{Ref: ALIYUN::NoValue}]",
                         "which only leaves out whole properties"),
}  # fmt: skip


def spoilt(name: str, old: str, new: str) -> check_deployment.Files:
    """Both files, with every `old` in one of them replaced."""
    files = check_deployment.read()
    field = "serverless" if name == "s.yaml" else "template"
    content = getattr(files, field)
    assert old in content, f"{old!r} does not stand in {name} any more"
    return files._replace(**{field: content.replace(old, new)})


def test_the_files_fit_to_the_program_and_to_each_other() -> None:
    assert check_deployment.check(check_deployment.read()) == []


@_NEEDS_SCHEMAS
def test_the_files_fit_to_the_vendors_descriptions() -> None:
    assert check_deployment.check(check_deployment.read(), _SCHEMAS) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str) -> None:
    name, old, new, said = MISTAKES[mistake]
    found = check_deployment.check(spoilt(name, old, new))
    assert any(said in sentence for sentence in found), found


@_NEEDS_SCHEMAS
@pytest.mark.parametrize("mistake", AGAINST_THE_VENDOR)
def test_what_the_vendor_would_refuse_or_overlook_is_named(mistake: str) -> None:
    name, old, new, said = AGAINST_THE_VENDOR[mistake]
    found = check_deployment.check(spoilt(name, old, new), _SCHEMAS)
    assert any(said in sentence for sentence in found), found


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_sentence_quotes_what_looks_like_a_secret(mistake: str) -> None:
    name, old, new, _ = MISTAKES[mistake]
    found = check_deployment.check(spoilt(name, old, new))
    assert not [sentence for sentence in found if "sesame" in sentence or "LTAI" in sentence or "36bd" in sentence]


@pytest.mark.parametrize(
    ("cron", "seconds"),
    [
        ("@every 1m", 60),
        ("@every 90s", 90),
        ("@every 2h", 7200),
        ("0 * * * * *", 60),
        ("0 0/5 * * * *", 300),
        ("0 */10 * * * *", 600),
        ("CRON_TZ=Asia/Shanghai 0 * * * * *", 60),
        ("0 0 4 * * *", 3600),
        ("* * * * *", None),
        ("@every 0m", None),
        ("@hourly", None),
        ("@every 1 m", None),
        (None, None),
    ],
)
def test_the_period_of_a_timer_is_understood(cron: str | None, seconds: float | None) -> None:
    assert check_functions.period_s(cron) == seconds


def test_the_program_says_what_is_wrong_and_fails(tmp_path: Path) -> None:
    """In a copy of the project, far from any directory with the vendor's descriptions."""
    for name in ("s.yaml", "template.yml"):
        shutil.copy(_ROOT / name, tmp_path)
    for name in ("tools", "src", "docs"):
        shutil.copytree(_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, str(tmp_path / "tools" / "check_deployment.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("s.yaml and template.yml: in order, checked against the program (not against")
    path = tmp_path / "s.yaml"
    path.write_text(path.read_text().replace("python3.10\n", "python3.11\n"))
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "s.yaml: the runtime python3.11 is not supported" in done.stdout
