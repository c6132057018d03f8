"""What a SAM template says of its functions, as `warmstate dev -t template.yaml` reads it."""

import pytest

from warmstate.cli.problem import Problem
from warmstate.cli.template import functions_of

TEMPLATE = """
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev}
  Size: {Type: Number}
Globals:
  Function:
    Timeout: 7
    Environment: {Variables: {STAGE: !Ref Stage, LEVEL: info}}
Resources:
  Table: {Type: AWS::DynamoDB::Table}
  Counter:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.Counter
      CodeUri: src/
      MemorySize: !Ref Size
      EphemeralStorage: {Size: 1024}
      FunctionUrlConfig: {AuthType: NONE, InvokeMode: RESPONSE_STREAM}
      Environment:
        Variables:
          LEVEL: debug
          VERBOSE: true
          TABLE: !Ref Table
          WHERE: !Sub "${Stage}-${AWS::Region}-${!literal}"
          PATHS: !Join [":", [a, !Ref Stage]]
          ARN: !GetAtt Table.Arn
          LONG: {"Fn::Sub": "${Nobody}"}
  Plain:
    Type: AWS::Serverless::Function
    Properties: {Handler: other.handler, FunctionName: plain-one}
"""


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE)
    return str(path)


def test_functions_and_their_limits(template, tmp_path):
    """Globals, parameters and references count; SAM's own defaults hold where nothing is said."""
    (counter, plain), _ = functions_of(template, {"Size": "256"})

    assert counter == {
        "name": "Counter",
        "handler": "app.Counter",
        "folder": f"{tmp_path}/src/",
        "memory": 256,
        "timeout": 7,
        "tmp": 1024,
        "url": "stream",
        "env": {
            "STAGE": "dev",
            "LEVEL": "debug",
            "VERBOSE": "true",
            "TABLE": "Table",
            "WHERE": "dev-us-east-1-${literal}",
            "PATHS": "a:dev",
        },
    }
    assert (plain["name"], plain["memory"], plain["timeout"]) == ("plain-one", 128, 7)
    assert plain["env"] == {"STAGE": "dev", "LEVEL": "info"}


def test_what_only_a_stack_knows_is_named(template):
    """A value that is not there is left out, and told."""
    (counter, _), unknown = functions_of(template, {})

    assert counter["memory"] == 128
    assert unknown == [
        "Counter: the variable ARN is Fn::GetAtt Table.Arn, known only where it is deployed",
        "Counter: the variable LONG is a text with ${Nobody}, known only where it is deployed",
        "Counter.MemorySize is Ref Size, known only where it is deployed",
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "cannot read the template"),
        ("a: [", "the template is no YAML"),
        ("- a", "the template is no table of resources"),
        ("Resources: {Table: {Type: AWS::DynamoDB::Table}}", "the template has no function"),
        ("Resources: {F: {Type: AWS::Serverless::Function, Properties: {PackageType: Image}}}", "F has no Handler"),
        ("!!python/object/apply:os.system [true]", "the template is no YAML"),
    ],
)
def test_what_is_no_template_is_refused(tmp_path, text, what):
    """Each with what is wrong and where; nothing in it is run."""
    path = tmp_path / "template.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Problem) as caught:
        functions_of(str(path), {})

    assert (caught.value.what, caught.value.where, caught.value.exit) == (what, str(path), 2)
